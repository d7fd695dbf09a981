//! Reductions over height, width and channels, in any combination: sum, mean, maximum, minimum, and the place of the extreme.
//!
//! Every output is one sequential chain over what is reduced, in row-major order of the input. Reduced dimensions stay as ones.

pub mod arg_max;
pub mod float;
pub mod int8;

use super::operands::bounded;
use crate::operand::{Operand, Shape};
use crate::step::StepError;

/// What is reduced of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// Height, width and channels of the input.
    pub input: [usize; 3],
    /// Which of them are reduced.
    pub axes: [bool; 3],
}

impl Params {
    /// The mask of the axes, as an attribute holds it: 1 for the height, 2 for the width, 4 for the channels.
    pub fn mask(&self) -> i32 {
        let [y, x, c] = self.axes.map(i32::from);
        y | x << 1 | c << 2
    }

    /// How many elements make one output.
    pub fn count(&self) -> usize {
        let extents = self.input.into_iter().zip(self.axes);
        extents.fold(
            1usize,
            |count, (extent, reduced)| if reduced { count.saturating_mul(extent) } else { count },
        )
    }

    /// Height, width and channels of the output.
    pub fn output(&self) -> [usize; 3] {
        let mut output = self.input;
        output.iter_mut().zip(self.axes).filter(|(_, reduced)| *reduced).for_each(|(extent, _)| *extent = 1);
        output
    }

    /// Elements of one sample of the input and of the output, neither of them zero.
    fn lengths(&self) -> (usize, usize) {
        let length = |[h, w, c]: [usize; 3]| h.wrapping_mul(w).wrapping_mul(c).max(1);
        (length(self.input), length(self.output()))
    }

    /// The parameters of a step that reduces the axes in `mask`, attribute `index`, of `input` to `output`, an operand and its index.
    fn read(
        mask: i32,
        index: u8,
        (input, input_index): (&Operand, u8),
        (output, output_index): (&Operand, u8),
    ) -> Result<Self, StepError> {
        bounded(mask, index, 1..=7)?;
        let axes = [mask & 1 != 0, mask & 2 != 0, mask & 4 != 0];
        let Shape([n, ..]) = input.shape;
        let [_, h, w, c] = input.shape.dims();
        if input.shape.has_zero() || input.shape.elements().is_none() {
            return Err(StepError::Shape { operand: input_index });
        }
        let params = Self { input: [h, w, c], axes };
        let [out_h, out_w, out_c] = params.output().map(|extent| extent as u32);
        if output.shape == Shape([n, out_h, out_w, out_c]) {
            Ok(params)
        } else {
            Err(StepError::Shape { operand: output_index })
        }
    }

    /// The input's places that make an output whose first is `base`, row by row: `visit(place)` for every row of channels, in order.
    #[inline(always)]
    fn for_each_row(&self, base: usize, mut visit: impl FnMut(usize)) {
        let ([h, w, c], [over_y, over_x, _]) = (self.input, self.axes);
        for y in 0..if over_y { h } else { 1 } {
            for x in 0..if over_x { w } else { 1 } {
                visit(base + (y * w + x) * c);
            }
        }
    }
}

/// One element on its way into an output.
#[derive(Clone, Copy)]
struct Taken {
    /// How many of the same output came before it.
    order: usize,
    /// Its place in the sample.
    place: usize,
}

/// Folds one sample: every output begins as `first`, takes its elements one after the other and is emitted, in the order of the outputs.
/// `BLOCK` channels go side by side.
#[inline(always)]
fn fold<const BLOCK: usize, T: Copy, A: Copy>(
    params: &Params,
    input: &[T],
    first: A,
    take: impl Fn(A, T, Taken) -> A,
    mut emit: impl FnMut(A),
) {
    let ([_, w, c], [out_h, out_w, out_c]) = (params.input, params.output());
    let [_, _, over_c] = params.axes;
    for base in (0..out_h).flat_map(|y| (0..out_w).map(move |x| (y * w + x) * c)) {
        if over_c {
            let (mut value, mut order) = (first, 0);
            params.for_each_row(base, |row| {
                for (place, &element) in (row..).zip(input.get(row..row + c).unwrap_or_default()) {
                    value = take(value, element, Taken { order, place });
                    order += 1;
                }
            });
            emit(value);
            continue;
        }
        for block in (0..out_c).step_by(BLOCK) {
            let (mut values, mut order) = ([first; BLOCK], 0);
            let width = BLOCK.min(out_c - block);
            params.for_each_row(base + block, |row| {
                let elements = input.get(row..row + width).unwrap_or_default();
                for ((value, &element), place) in values.iter_mut().zip(elements).zip(row..) {
                    *value = take(*value, element, Taken { order, place });
                }
                order += 1;
            });
            values.iter().take(width).for_each(|&value| emit(value));
        }
    }
}

/// Writes what it is called with into `output`, one element after the other.
#[inline(always)]
fn store<T>(output: &mut [T]) -> impl FnMut(T) {
    let mut output = output.iter_mut();
    move |value| {
        if let Some(element) = output.next() {
            *element = value;
        }
    }
}

#[cfg(test)]
mod reference {
    use std::vec::Vec;

    use super::Params;

    /// For each output of a sample, the places that make it, from the definition.
    pub(super) fn places(params: &Params) -> Vec<Vec<usize>> {
        let ([h, w, c], [out_h, out_w, out_c]) = (params.input, params.output());
        let mut places = std::vec![Vec::new(); out_h * out_w * out_c];
        for place in 0..h * w * c {
            let index = [place / (w * c), place / c % w, place % c];
            let mut kept = index;
            kept.iter_mut().zip(params.axes).filter(|(_, reduced)| *reduced).for_each(|(i, _)| *i = 0);
            places[(kept[0] * out_w + kept[1]) * out_c + kept[2]].push(place);
        }
        places
    }

    /// All combinations of axes.
    pub(super) fn all_axes() -> impl Iterator<Item = [bool; 3]> {
        (1..8).map(|mask| [mask & 1 != 0, mask & 2 != 0, mask & 4 != 0])
    }
}
