//! A rank-decomposed layer with a memory, TensorFlow Lite's `SVDF` (Nakkiran et al. 2015, "Compressing deep neural networks using a
//! rank-constrained topology").
//!
//! Each run is one step of time. *Filters* are weighted sums of the input; the state remembers each filter's results of the last steps, the oldest first.
//! A unit is the sum over its `rank` filters of the remembered results, weighted by age:
//!
//! ```text
//! state[filter]  = state[filter] without its oldest, then feature[filter] * x
//! output[unit]   = activation(bias[unit] + sum over rank of time[filter] * state[filter]),  filter = unit * rank + rank's index
//! ```
//!
//! The input is `[N, H, W, C_in]`, the output `[N, H, W, units]`, the state `[1, 1, H * W, filters * memory]`: `H * W` rows with a memory each, and samples are steps that follow one another.

pub mod float;
pub mod int8;
#[cfg(test)]
mod tests;

use crate::operand::Shape;

/// Sizes of an SVDF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    batch: usize,
    inputs: usize,
    units: usize,
    filters: usize,
    memory: usize,
}

impl Sizes {
    /// From the shapes of input, output and time weights `[1, 1, filters, memory]`; the index of the one that does not fit, if one doesn't.
    fn new(input: Shape, output: Shape, time: Shape) -> Result<Self, Wrong> {
        let (Shape([in_n, in_h, in_w, inputs]), Shape([out_n, out_h, out_w, units])) = (input, output);
        if input.has_zero() || input.elements().is_none() {
            return Err(Wrong::Input);
        }
        if [in_n, in_h, in_w] != [out_n, out_h, out_w] || units == 0 || output.elements().is_none() {
            return Err(Wrong::Output);
        }
        let Shape([1, 1, filters, memory]) = time else { return Err(Wrong::Time) };
        if time.has_zero() || time.elements().is_none() || filters.checked_rem(units) != Some(0) {
            return Err(Wrong::Time);
        }
        let [inputs, units, filters, memory] = [inputs, units, filters, memory].map(|size| size as usize);
        Ok(Self { batch: (in_h * in_w) as usize, inputs, units, filters, memory })
    }

    /// The state's shape.
    fn state(self) -> Shape {
        Shape([1, 1, self.batch as u32, (self.filters * self.memory) as u32])
    }
}

/// Which shape does not fit the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Input,
    Output,
    Time,
}

/// Forgets the oldest of one filter's results and appends `newest`.
#[inline(always)]
fn remember<T: Copy>(state: &mut [T], newest: T) {
    let mut next = newest;
    for value in state.iter_mut().rev() {
        next = core::mem::replace(value, next);
    }
}
