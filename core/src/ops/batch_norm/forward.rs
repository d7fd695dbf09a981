//! Forward passes: inference, batch statistics, normalization.

use super::{LANES, Runs, inverse_deviation, rows, rows_mut, scale_and_shift};
use crate::kernels::channels::{columns, columns_mut, for_each_block, join};
use crate::kernels::each_isa::each_isa;
use crate::kernels::per_channel::PerChannel;
use crate::kernels::{fma, wide};
use crate::ops::activation::Activation;

/// Batch norm with running statistics, for inference: `output = activation((x - mean) / sqrt(variance + epsilon) * gamma + beta)`,
/// computed as `activation(x * scale + shift)` with one fused multiply-add.
///
/// `input` and `output` are `[N, H, W, C]`, `parameters` (gamma, beta) and `running` (mean, variance) `[1, 1, 2, C]`.
/// Without an `input` it is read from the place of the output.
pub fn inference(
    activation: Activation,
    epsilon: f32,
    input: Option<&[f32]>,
    parameters: &[f32],
    running: &[f32],
    output: &mut [f32],
) {
    scale_shift(activation, input, parameters, running, Some(epsilon), output);
}

/// Batch norm with the batch's `moments` (mean, `1 / sqrt(variance + epsilon)`), for training: `output = activation(x * scale + shift)`
/// with `scale = gamma * inv_std` and `shift = beta - mean * scale`, one fused multiply-add each.
///
/// `input` and `output` are `[N, H, W, C]`, `moments` and `parameters` (gamma, beta) `[1, 1, 2, C]`. Without an `input` it is
/// read from the place of the output.
pub fn normalize(
    activation: Activation,
    input: Option<&[f32]>,
    moments: &[f32],
    parameters: &[f32],
    output: &mut [f32],
) {
    scale_shift(activation, input, parameters, moments, None, output);
}

/// `output = activation(x * scale + shift)`; `statistics` are mean and variance with an `epsilon`, else moments.
fn scale_shift(
    activation: Activation,
    input: Option<&[f32]>,
    parameters: &[f32],
    statistics: &[f32],
    epsilon: Option<f32>,
    output: &mut [f32],
) {
    let ((gamma, beta), (mean, spread)) = (rows(parameters), rows(statistics));
    let table = |c: usize| {
        let (Some(&mean), Some(&spread), Some(&gamma), Some(&beta)) =
            (mean.get(c), spread.get(c), gamma.get(c), beta.get(c))
        else {
            return [0.0; 2];
        };
        let inv_std = epsilon.map_or(spread, |epsilon| inverse_deviation(spread, epsilon));
        let (scale, shift) = scale_and_shift(mean, inv_std, gamma, beta);
        [scale, shift]
    };
    let mut problem = PerChannel { activation, channels: gamma.len(), table, inputs: [input, None], output };
    if wide::scale(&mut problem) {
        return;
    }
    let PerChannel { activation, channels, table, inputs: [input, _], output } = problem;
    let runs = Runs::new(channels);
    for first in runs.blocks() {
        let mut numbers = [[0.0; 2]; LANES];
        for (c, numbers) in runs.channels_of(first).zip(&mut numbers) {
            *numbers = table(c);
        }
        let outputs = output.chunks_mut(runs.stride.max(1)).filter_map(|row| {
            let end = row.len().min(first + runs.length);
            row.get_mut(first..end)
        });
        match input {
            None => {
                for output in outputs {
                    for (y, &[scale, shift]) in output.iter_mut().zip(&numbers) {
                        *y = activation.apply(fma(*y, scale, shift));
                    }
                }
            }
            Some(input) => {
                let inputs = input.chunks(runs.stride.max(1)).filter_map(|row| row.get(first..));
                for (output, input) in outputs.zip(inputs) {
                    for ((y, &x), &[scale, shift]) in output.iter_mut().zip(input).zip(&numbers) {
                        *y = activation.apply(fma(x, scale, shift));
                    }
                }
            }
        }
    }
}

/// Mean and sum of squared deviations from it of each channel, over the pixels of one chunk: `partial[0][c] = sum(x) / n`,
/// `partial[1][c] = sum((x - partial[0][c])²)`.
///
/// `input` is `[N, H, W, C]`, `partial` `[1, 1, 2, C]`. Two passes over the input, each in four chains by pixel index modulo 4,
/// joined as `(c0 + c1) + (c2 + c3)`.
pub fn statistics(input: &[f32], partial: &mut [f32]) {
    statistics_kernel(input, partial);
}

each_isa! {
    fn statistics_kernel<WIDE>(input: &'a [f32], partial: &'a mut [f32]) {
        let (mean, squares) = rows_mut(partial);
        let channels = mean.len();
        let Some(pixels) = input.len().checked_div(channels) else { return };
        for_each_block!(WIDE, channels, statistics_block(channels, pixels as f32, input, mean, squares));
    }
}

#[inline(always)]
fn statistics_block<const W: usize>(
    first: usize,
    channels: usize,
    pixels: f32,
    input: &[f32],
    mean: &mut [f32],
    squares: &mut [f32],
) {
    let (Some(mean), Some(squares)) = (columns_mut::<W>(mean, first), columns_mut::<W>(squares, first))
    else {
        return;
    };
    *mean = sum_chains::<W, false>(first, channels, input, &[0.0; W]);
    for mean in &mut *mean {
        *mean /= pixels;
    }
    *squares = sum_chains::<W, true>(first, channels, input, mean);
}

/// Adds a row to a chain: its values, or the squares of their distances from `center`.
#[inline(always)]
fn add_row<const W: usize, const SQUARES: bool>(chain: &mut [f32; W], row: &[f32; W], center: &[f32; W]) {
    for ((sum, &x), &center) in chain.iter_mut().zip(row).zip(center) {
        *sum = if SQUARES { fma(x - center, x - center, *sum) } else { *sum + x };
    }
}

/// Sums `W` channels from `first` on over all pixels, in four chains.
#[inline(always)]
fn sum_chains<const W: usize, const SQUARES: bool>(
    first: usize,
    channels: usize,
    input: &[f32],
    center: &[f32; W],
) -> [f32; W] {
    // Four variables, not an array: an index that is not known would keep them out of the registers.
    let [mut c0, mut c1, mut c2, mut c3] = [[0.0; W]; 4];
    let groups = input.chunks_exact(4 * channels);
    let mut rest = groups.remainder().chunks_exact(channels).filter_map(|row| columns::<W>(row, first));
    for group in groups {
        let column = |row: usize| columns::<W>(group, first + row * channels);
        let (Some(x0), Some(x1), Some(x2), Some(x3)) = (column(0), column(1), column(2), column(3)) else {
            break;
        };
        add_row::<W, SQUARES>(&mut c0, x0, center);
        add_row::<W, SQUARES>(&mut c1, x1, center);
        add_row::<W, SQUARES>(&mut c2, x2, center);
        add_row::<W, SQUARES>(&mut c3, x3, center);
    }
    for chain in [&mut c0, &mut c1, &mut c2] {
        if let Some(row) = rest.next() {
            add_row::<W, SQUARES>(chain, row, center);
        }
    }
    join(&[c0, c1, c2, c3])
}

/// Parameters of [`reduce`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReduceParams {
    /// Added to the variance under the root. Positive.
    pub epsilon: f32,
    /// How far the running statistics move towards the batch's, in `0.0..=1.0`.
    pub momentum: f32,
    /// Elements per channel in each chunk (samples of a chunk × height × width). All chunks have the same.
    pub chunk_elements: usize,
}

/// Moments of the batch from the chunks' [`statistics`], and the running statistics' move towards them.
///
/// `partials` are the chunks' `[1, 1, 2, C]` in order, `moments` (overwritten) and `running` (updated in place) `[1, 1, 2, C]`. Chunks are
/// combined one after the other as Chan, Golub and `LeVeque` (1979) do: with `d = mean_chunk - mean` and `k` chunks of `n` elements
/// before, `mean += d / (k + 1)` and `squares += squares_chunk + d² * n * k / (k + 1)`.
///
/// `running = (1 - momentum) * running + momentum * batch`, where the batch's variance is unbiased (`squares / (elements - 1)`), as
/// `PyTorch` does; for a single element it is the biased one, 0. Without partials nothing changes.
pub fn reduce<'a>(
    params: ReduceParams,
    partials: impl Iterator<Item = &'a [f32]>,
    moments: &mut [f32],
    running: &mut [f32],
) {
    let (mean, squares) = rows_mut(moments);
    let chunk_elements = params.chunk_elements as f32;
    let mut chunks = 0.0;
    for partial in partials {
        let (chunk_mean, chunk_squares) = rows(partial);
        if chunks == 0.0 {
            mean.iter_mut().zip(chunk_mean).for_each(|(mean, &chunk)| *mean = chunk);
            squares.iter_mut().zip(chunk_squares).for_each(|(squares, &chunk)| *squares = chunk);
        } else {
            let weight = 1.0 / (chunks + 1.0);
            let between = chunk_elements * chunks * weight;
            for ((mean, squares), (&chunk_mean, &chunk_squares)) in
                mean.iter_mut().zip(squares.iter_mut()).zip(chunk_mean.iter().zip(chunk_squares))
            {
                let difference = chunk_mean - *mean;
                *mean = fma(difference, weight, *mean);
                *squares = fma(difference * difference, between, *squares + chunk_squares);
            }
        }
        chunks += 1.0;
    }
    if chunks == 0.0 {
        return;
    }
    let elements = chunks * chunk_elements;
    let freedom = if elements > 1.0 { elements - 1.0 } else { 1.0 };
    let (running_mean, running_variance) = rows_mut(running);
    let ReduceParams { epsilon, momentum, .. } = params;
    let move_towards =
        |running: &mut f32, batch: f32| *running = fma(momentum, batch, (1.0 - momentum) * *running);
    for ((mean, squares), (running_mean, running_variance)) in
        mean.iter_mut().zip(squares).zip(running_mean.iter_mut().zip(running_variance))
    {
        move_towards(running_mean, *mean);
        move_towards(running_variance, *squares / freedom);
        *squares = inverse_deviation(*squares / elements, epsilon);
    }
}
