//! From a range of real numbers to the quantization of an activation.

use std::collections::BTreeMap;

use smidgen::Quantization;

use crate::graph::{Graph, TensorId};

/// The smallest and the greatest value that a tensor has to represent. Both are finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RealRange {
    /// The smallest.
    pub min: f32,
    /// The greatest.
    pub max: f32,
}

/// A range that is narrower than this counts as empty: scales stay far from the smallest numbers an f32 can hold.
const LEAST_WIDTH: f64 = 1e-30;

impl RealRange {
    /// The asymmetric int8 quantization of this range, widened so that it includes 0.
    ///
    /// `scale = (max - min) / 255` and `zero_point = round(-128 - min / scale)`: 0.0 is exactly the integer `zero_point`, which moves
    /// the range's ends by less than one step (TensorFlow Lite, `GetAsymmetricQuantizationParams`). A range in which there is nothing but 0 gets the
    /// quantization of `0..=1`.
    pub fn quantization(self) -> Quantization {
        let (min, max) = (f64::from(self.min).min(0.0), f64::from(self.max).max(0.0));
        if max - min < LEAST_WIDTH {
            return Quantization { scale: 1.0 / 255.0, zero_point: -128 };
        }
        let scale = ((max - min) / 255.0) as f32;
        // In -128..=127 but for the rounding of the scale.
        let zero_point = libm::round(-128.0 - min / f64::from(scale)).clamp(-128.0, 127.0) as i32;
        Quantization { scale, zero_point }
    }

    /// Whether it is a range: two finite numbers in order.
    pub fn is_valid(self) -> bool {
        self.min.is_finite() && self.max.is_finite() && self.min <= self.max
    }
}

/// Ranges by the names of the activations, which a graph keeps when batch norms are folded and activations fused.
pub type NamedRanges = BTreeMap<String, RealRange>;

/// The ranges of the activations of one graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranges(Vec<Option<RealRange>>);

impl Ranges {
    /// No range for any tensor of `graph`.
    pub fn new(graph: &Graph) -> Self {
        Self(vec![None; graph.tensors.len()])
    }

    /// The range of a tensor, if it has one.
    pub fn get(&self, tensor: TensorId) -> Option<RealRange> {
        self.0.get(tensor.0).copied().flatten()
    }

    /// The ranges by the names of the tensors.
    pub fn by_name(&self, graph: &Graph) -> NamedRanges {
        let named = |(tensor, range): (&crate::graph::Tensor, &Option<RealRange>)| {
            Some((tensor.name.clone(), (*range)?))
        };
        graph.tensors.iter().zip(&self.0).filter_map(named).collect()
    }

    /// The ranges of the tensors of `graph` that have these names.
    pub fn of_names(graph: &Graph, names: &NamedRanges) -> Self {
        Self(graph.tensors.iter().map(|tensor| names.get(&tensor.name).copied()).collect())
    }

    /// Gives a tensor a range. A tensor that the graph does not have is left alone.
    pub fn set(&mut self, tensor: TensorId, range: RealRange) {
        if let Some(place) = self.0.get_mut(tensor.0) {
            *place = Some(range);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smidgen::ops::quantize::{dequantize_one, quantize_one};

    const CASES: [(f32, f32); 9] = [
        (-1.0, 1.0),
        (0.0, 6.0),
        (-3.7, 0.2),
        (2.0, 5.0),
        (-5.0, -2.0),
        (-0.001, 1000.0),
        (-1000.0, 0.001),
        (-1e-20, 3e-20),
        (-3e38, 3e38),
    ];

    #[test]
    fn a_worked_example() {
        // 255 steps of 0.02; -1.0 is 50 steps below zero: -128 + 50.
        let found = RealRange { min: -1.0, max: 4.1 }.quantization();
        assert_eq!(found, Quantization { scale: 0.02, zero_point: -78 });
        let relu = RealRange { min: 0.0, max: 25.5 }.quantization();
        assert_eq!(relu, Quantization { scale: 0.1, zero_point: -128 });
    }

    #[test]
    fn zero_is_exact_and_everything_in_the_range_within_a_step() {
        for (min, max) in CASES {
            let quantization = RealRange { min, max }.quantization();
            let Quantization { scale, zero_point } = quantization;
            assert!(scale.is_normal() && scale > 0.0 && (-128..=127).contains(&zero_point));
            assert_eq!(dequantize_one(quantization, quantize_one(quantization, 0.0)).to_bits(), 0);
            for part in 0..=1000 {
                let part = part as f32 / 1000.0;
                let x = min * (1.0 - part) + max * part;
                let error = dequantize_one(quantization, quantize_one(quantization, x)) - x;
                // Half a step of rounding, and at the ends up to half a step more that the zero point moved the range.
                assert!(error.abs() <= 1.001 * scale, "{min}..{max}: {x} is off by {error}, scale {scale}");
            }
        }
    }

    #[test]
    fn a_range_of_nothing_has_a_scale() {
        for (min, max) in [(0.0, 0.0), (-0.0, 0.0), (0.0, 1e-38), (-f32::from_bits(1), 0.0)] {
            let found = RealRange { min, max }.quantization();
            assert_eq!(found, Quantization { scale: 1.0 / 255.0, zero_point: -128 });
        }
    }
}
