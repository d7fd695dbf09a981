//! Batch normalization (Ioffe and Szegedy 2015, `arXiv:1502.03167`) over the channels of `[N, H, W, C]`, with a fused
//! activation: inference with running statistics, and training with the statistics of the whole batch.
//!
//! Training works in passes, because a batch is cut into chunks that may run side by side:
//!
//! | pass | function | runs |
//! |---|---|---|
//! | mean and sum of squared deviations | [`statistics`] | per chunk |
//! | moments of the batch, running statistics | [`reduce`] | once |
//! | `y = activation(x * scale + shift)` | [`normalize`] | per chunk |
//! | sums of `g * x̂` and `g` | [`grad_statistics`] | per chunk |
//! | those sums over the batch | [`sum_chunks`](super::sum_chunks) | once |
//! | gradient with respect to the input | [`grad_input`] | per chunk |
//!
//! Tables are `[1, 1, 2, C]`, two rows of one value per channel: *parameters* (gamma, beta), *moments* (mean,
//! `1 / sqrt(variance + epsilon)`), *running* (mean, variance), *sums* (grad gamma, grad beta), *partial* (mean, sum of
//! squared deviations).
//!
//! The raw input is kept and everything else recomputed: backward finds the activation's input with the same two numbers
//! per channel and the same fused multiply-add as forward, so that both agree on which side of a kink an element is.

mod backward;
mod forward;
mod step;
#[cfg(test)]
mod tests;

pub use backward::{GradInputParams, grad_input, grad_statistics};
pub use forward::{ReduceParams, inference, normalize, reduce, statistics};
pub(super) use step::*;

use crate::kernels::{fma, sqrt};

/// How many channel values the tables on the stack hold.
const LANES: usize = 64;

/// Both rows of a `[1, 1, 2, C]` table.
#[inline(always)]
fn rows(table: &[f32]) -> (&[f32], &[f32]) {
    table.split_at_checked(table.len() / 2).unwrap_or_default()
}

/// Both rows of a `[1, 1, 2, C]` table, to write.
#[inline(always)]
fn rows_mut(table: &mut [f32]) -> (&mut [f32], &mut [f32]) {
    table.split_at_mut_checked(table.len() / 2).unwrap_or_default()
}

/// `(scale, shift)` of a channel: `gamma * inv_std` and `beta - mean * scale`.
#[inline(always)]
fn scale_and_shift(mean: f32, inv_std: f32, gamma: f32, beta: f32) -> (f32, f32) {
    let scale = gamma * inv_std;
    (scale, fma(-mean, scale, beta))
}

/// `1 / sqrt(variance + epsilon)`.
#[inline(always)]
fn inverse_deviation(variance: f32, epsilon: f32) -> f32 {
    1.0 / sqrt(variance + epsilon)
}

/// How a `[rows, C]` matrix is cut into runs of at most [`LANES`] neighbouring elements that all use the same table of
/// channel values: a block of channels of one row if rows are long, several whole rows if they are short.
#[derive(Clone, Copy, Debug)]
struct Runs {
    /// Elements from one run of a block to the next. Never zero, as `length`: the uses repeat it, so that no check that panics is linked.
    stride: usize,
    /// Elements of a full run.
    length: usize,
    /// Channels in a row.
    channels: usize,
}

impl Runs {
    #[inline(always)]
    fn new(channels: usize) -> Self {
        match LANES.checked_div(channels) {
            None => Self { stride: 1, length: 1, channels },
            Some(0) => Self { stride: channels, length: LANES, channels },
            Some(rows) => Self { stride: rows * channels, length: rows * channels, channels },
        }
    }

    /// The first elements of the blocks.
    #[inline(always)]
    fn blocks(self) -> impl Iterator<Item = usize> {
        (0..self.stride).step_by(self.length.max(1))
    }

    /// The channels of the run that starts at element `first` of a row.
    #[inline(always)]
    fn channels_of(self, first: usize) -> impl Iterator<Item = usize> {
        let channels = self.channels.max(1);
        (first..self.stride.min(first + self.length)).map(move |element| element % channels)
    }
}
