//! Scales of weights from the factors that they gave.

use smidgen::quantization::Multiplier;

/// How TensorFlow Lite Micro's `Prepare` multiplies input and weight scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Product {
    /// In f64: convolutions, and fully connected layers with several scales.
    F64,
    /// In f32: fully connected layers with one scale.
    F32,
}

impl Product {
    /// The factor of a layer.
    pub(super) fn factor(self, input: f32, weights: f32, output: f32) -> Option<Multiplier> {
        let product = match self {
            Self::F64 => f64::from(input) * f64::from(weights),
            Self::F32 => f64::from(input * weights),
        };
        Multiplier::from_real(product / f64::from(output))
    }
}

/// How many f32 to each side of the quotient are tried. Its rounding moves it by less than one, the multiplier's rounding by less.
const NEIGHBOURS: i32 = 4;

/// The weight scale nearest to the quotient with which `Prepare` computes exactly `factor`; `None` if no f32 does.
pub(super) fn weight_scale(product: Product, input: f32, output: f32, factor: Multiplier) -> Option<f32> {
    if factor.multiplier == 0 {
        // Too small for a shift: TensorFlow Lite Micro makes it zero, too.
        let tiny = (f64::from(output) / f64::from(input) * 2f64.powi(-40)) as f32;
        return Some(tiny).filter(|&tiny| tiny > 0.0 && product.factor(input, tiny, output) == Some(factor));
    }
    let real = f64::from(factor.multiplier) * 2f64.powi(factor.shift - 31);
    let quotient = (real * f64::from(output) / f64::from(input)) as f32;
    if !quotient.is_normal() || quotient <= 0.0 {
        return None;
    }
    let neighbour = |distance: i32| f32::from_bits(quotient.to_bits().wrapping_add_signed(distance));
    let distances = (0..=NEIGHBOURS).flat_map(|distance| [distance, -distance]);
    distances.map(neighbour).find(|&scale| product.factor(input, scale, output) == Some(factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_that_gave_a_factor_is_found_again() {
        let mut seed = 7u32;
        let mut scale = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from_bits(0x3880_0000 + (seed >> 8) % 0x0500_0000)
        };
        for _ in 0..20_000 {
            let (input, weights, output) = (scale(), scale(), scale());
            for product in [Product::F64, Product::F32] {
                let factor = product.factor(input, weights, output).unwrap();
                let found = weight_scale(product, input, output, factor);
                let found = found.unwrap_or_else(|| panic!("{product:?} {input} {weights} {output}"));
                assert_eq!(product.factor(input, found, output), Some(factor));
            }
        }
    }

    #[test]
    fn a_factor_between_two_scales_is_not() {
        // With 1.0 on both sides, factors are f32: multipliers whose last seven bits are zeros.
        let factor = Multiplier { multiplier: (1 << 30) + 1, shift: 0 };
        assert_eq!(weight_scale(Product::F64, 1.0, 1.0, factor), None);
        let factor = Multiplier { multiplier: (1 << 30) + 128, shift: 0 };
        assert!(weight_scale(Product::F64, 1.0, 1.0, factor).is_some());
    }

    #[test]
    fn a_factor_of_zero_has_a_scale() {
        let zero = Multiplier { multiplier: 0, shift: 0 };
        for product in [Product::F64, Product::F32] {
            let scale = weight_scale(product, 0.02, 0.1, zero).unwrap();
            assert!(scale > 0.0);
        }
    }
}
