//! Backward passes: the sums that are the gradients of gamma and beta, and the gradient with respect to the input.

use super::{LANES, Runs, rows, rows_mut, scale_and_shift};
use crate::kernels::channels::{columns, columns_mut, for_each_block, join};
use crate::kernels::each_isa::each_isa;
use crate::kernels::per_channel::PerChannel;
use crate::kernels::{fma, wide};
use crate::ops::activation::{Activation, with_known_activation};

/// What the inner loops know of `W` channels.
#[derive(Clone, Copy)]
struct Table<const W: usize> {
    mean: [f32; W],
    scale: [f32; W],
    shift: [f32; W],
}

/// Sums of one chunk: `partial[0][c] = sum(g * x̂)` and `partial[1][c] = sum(g)`, where `g = grad_output` through the
/// activation and `x̂ = (x - mean) * inv_std`. Over the batch they are the gradients of gamma and beta.
///
/// `input` (of the batch norm) and `grad_output` are `[N, H, W, C]`; `moments` (mean, `inv_std`), `parameters` (gamma, beta) and `partial`
/// are `[1, 1, 2, C]`. Four chains by pixel index modulo 4, joined as `(c0 + c1) + (c2 + c3)`; `inv_std` is multiplied last.
pub fn grad_statistics(
    activation: Activation,
    input: &[f32],
    grad_output: &[f32],
    moments: &[f32],
    parameters: &[f32],
    partial: &mut [f32],
) {
    grad_statistics_kernel(activation, input, grad_output, moments, parameters, partial);
}

each_isa! {
    fn grad_statistics_kernel<WIDE>(
        activation: Activation,
        input: &'a [f32],
        grad_output: &'a [f32],
        moments: &'a [f32],
        parameters: &'a [f32],
        partial: &'a mut [f32],
    ) {
        with_known_activation!(
            activation,
            grad_statistics_known::<WIDE>(input, grad_output, moments, parameters, partial)
        );
    }
}

#[inline(always)]
fn grad_statistics_known<const WIDE: usize>(
    activation: Activation,
    input: &[f32],
    grad_output: &[f32],
    moments: &[f32],
    parameters: &[f32],
    partial: &mut [f32],
) {
    let channels = partial.len() / 2;
    for_each_block!(
        WIDE,
        channels,
        grad_statistics_block(activation, input, grad_output, moments, parameters, partial)
    );
}

#[inline(always)]
fn grad_statistics_block<const W: usize>(
    first: usize,
    activation: Activation,
    input: &[f32],
    grad_output: &[f32],
    moments: &[f32],
    parameters: &[f32],
    partial: &mut [f32],
) {
    let ((mean, inv_std), (gamma, beta)) = (rows(moments), rows(parameters));
    let channels = mean.len();
    let (products, sums) = rows_mut(partial);
    let (Some(mean), Some(inv_std), Some(gamma), Some(beta), Some(products), Some(sums)) = (
        columns::<W>(mean, first),
        columns::<W>(inv_std, first),
        columns::<W>(gamma, first),
        columns::<W>(beta, first),
        columns_mut::<W>(products, first),
        columns_mut::<W>(sums, first),
    ) else {
        return;
    };
    let mut table = Table { mean: *mean, scale: [0.0; W], shift: [0.0; W] };
    let statistics = mean.iter().zip(inv_std).zip(gamma.iter().zip(beta));
    for ((scale, shift), ((&mean, &inv_std), (&gamma, &beta))) in
        table.scale.iter_mut().zip(&mut table.shift).zip(statistics)
    {
        (*scale, *shift) = scale_and_shift(mean, inv_std, gamma, beta);
    }
    // Variables, not arrays: an index that is not known would keep them out of the registers.
    let [mut p0, mut p1, mut p2, mut p3] = [[0.0; W]; 4];
    let [mut s0, mut s1, mut s2, mut s3] = [[0.0; W]; 4];
    let (inputs, grads) = (input.chunks_exact(4 * channels), grad_output.chunks_exact(4 * channels));
    let rest = inputs.remainder().chunks_exact(channels).zip(grads.remainder().chunks_exact(channels));
    let mut rest = rest.filter_map(|(input, grad)| Some((columns(input, first)?, columns(grad, first)?)));
    for (input, grad) in inputs.zip(grads) {
        let column = |row: usize| {
            let first = first + row * channels;
            Some((columns::<W>(input, first)?, columns::<W>(grad, first)?))
        };
        let (Some(r0), Some(r1), Some(r2), Some(r3)) = (column(0), column(1), column(2), column(3)) else {
            break;
        };
        add_row(activation, &table, &mut p0, &mut s0, r0);
        add_row(activation, &table, &mut p1, &mut s1, r1);
        add_row(activation, &table, &mut p2, &mut s2, r2);
        add_row(activation, &table, &mut p3, &mut s3, r3);
    }
    for (products, sums) in [(&mut p0, &mut s0), (&mut p1, &mut s1), (&mut p2, &mut s2)] {
        if let Some(row) = rest.next() {
            add_row(activation, &table, products, sums, row);
        }
    }
    *products = join(&[p0, p1, p2, p3]);
    for (product, &inv_std) in products.iter_mut().zip(inv_std) {
        *product *= inv_std;
    }
    *sums = join(&[s0, s1, s2, s3]);
}

#[inline(always)]
fn add_row<const W: usize>(
    activation: Activation,
    table: &Table<W>,
    products: &mut [f32; W],
    sums: &mut [f32; W],
    (input, grad): (&[f32; W], &[f32; W]),
) {
    // One loop for each quantity: the compiler makes vectors of each, but not of all in one for a few channels.
    let Table { mean, scale, shift } = table;
    let (mut gate, mut centered) = ([0.0; W], [0.0; W]);
    for ((gate, &x), (&scale, &shift)) in gate.iter_mut().zip(input).zip(scale.iter().zip(shift)) {
        *gate = fma(x, scale, shift);
    }
    for ((centered, &x), &mean) in centered.iter_mut().zip(input).zip(mean) {
        *centered = x - mean;
    }
    for (gate, &grad) in gate.iter_mut().zip(grad) {
        *gate = activation.gradient(*gate, grad);
    }
    for ((product, &g), &centered) in products.iter_mut().zip(&gate).zip(&centered) {
        *product = fma(g, centered, *product);
    }
    for (sum, &g) in sums.iter_mut().zip(&gate) {
        *sum += g;
    }
}

/// Parameters of [`grad_input`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradInputParams {
    /// The activation that forward applied.
    pub activation: Activation,
    /// Elements per channel in the whole batch (samples × height × width).
    pub batch_elements: usize,
}

/// Gradient with respect to the input of [`normalize`](super::normalize) with the moments of the whole batch:
/// `grad_input = gamma * inv_std * (g - (grad_beta + x̂ * grad_gamma) / batch_elements)`, where `g = grad_output` through the activation
/// and `x̂ = (x - mean) * inv_std` (Ioffe and Szegedy, section 3).
///
/// `input` (of the batch norm), `grad_output` and `grad_input` are `[N, H, W, C]`; `moments`, `parameters` and `sums` (grad gamma, grad beta,
/// over the whole batch) `[1, 1, 2, C]`. Overwrites `grad_input`. Without an `input` or a `grad_output`, that one is read from the place of
/// `grad_input`.
pub fn grad_input(
    params: GradInputParams,
    input: Option<&[f32]>,
    grad_output: Option<&[f32]>,
    moments: &[f32],
    parameters: &[f32],
    sums: &[f32],
    grad_input: &mut [f32],
) {
    let GradInputParams { activation, batch_elements } = params;
    let ((mean, inv_std), (gamma, beta)) = (rows(moments), rows(parameters));
    let (grad_gamma, grad_beta) = rows(sums);
    let weight = 1.0 / batch_elements as f32;
    let table = |c: usize| {
        let (Some(&mean), Some(&inv_std), Some(&gamma), Some(&beta), Some(&grad_gamma), Some(&grad_beta)) =
            (mean.get(c), inv_std.get(c), gamma.get(c), beta.get(c), grad_gamma.get(c), grad_beta.get(c))
        else {
            return [0.0; 5];
        };
        let (scale, shift) = scale_and_shift(mean, inv_std, gamma, beta);
        let slope = -(scale * inv_std * grad_gamma * weight);
        let constant = -(scale * grad_beta * weight);
        [mean, scale, shift, slope, constant]
    };
    let inputs = [input, grad_output];
    let mut problem = PerChannel { activation, channels: mean.len(), table, inputs, output: grad_input };
    if wide::scale_gradient(&mut problem) {
        return;
    }
    let PerChannel { activation, channels, table, inputs, output } = problem;
    let runs = Runs::new(channels);
    for first in runs.blocks() {
        let mut numbers = [[0.0; 5]; LANES];
        for (c, numbers) in runs.channels_of(first).zip(&mut numbers) {
            *numbers = table(c);
        }
        grad_input_runs(activation, runs, first, inputs, &numbers, output);
    }
}

/// `scale * g + (slope * (x - mean) + constant)`.
#[inline(always)]
fn grad(
    [mean, scale, shift, slope, constant]: [f32; 5],
    activation: Activation,
    x: f32,
    grad_output: f32,
) -> f32 {
    let g = activation.gradient(fma(x, scale, shift), grad_output);
    fma(scale, g, fma(slope, x - mean, constant))
}

fn grad_input_runs(
    activation: Activation,
    runs: Runs,
    first: usize,
    [input, grad_output]: [Option<&[f32]>; 2],
    numbers: &[[f32; 5]; LANES],
    grad_input: &mut [f32],
) {
    let run = |row| <[f32]>::get(row, first..);
    let inputs = input.unwrap_or_default().chunks(runs.stride.max(1)).filter_map(run);
    let grads = grad_output.unwrap_or_default().chunks(runs.stride.max(1)).filter_map(run);
    let outputs = grad_input.chunks_mut(runs.stride.max(1)).filter_map(|row| {
        let end = row.len().min(first + runs.length);
        row.get_mut(first..end)
    });
    match (input.is_some(), grad_output.is_some()) {
        (true, true) => {
            for ((output, input), grads) in outputs.zip(inputs).zip(grads) {
                let elements = output.iter_mut().zip(input.iter().zip(grads));
                for ((y, (&x, &grad_output)), &numbers) in elements.zip(numbers) {
                    *y = grad(numbers, activation, x, grad_output);
                }
            }
        }
        (true, false) => {
            for (output, input) in outputs.zip(inputs) {
                for ((y, &x), &numbers) in output.iter_mut().zip(input).zip(numbers) {
                    *y = grad(numbers, activation, x, *y);
                }
            }
        }
        (false, true) => {
            for (output, grads) in outputs.zip(grads) {
                for ((y, &grad_output), &numbers) in output.iter_mut().zip(grads).zip(numbers) {
                    *y = grad(numbers, activation, *y, grad_output);
                }
            }
        }
        (false, false) => {
            for output in outputs {
                for (y, &numbers) in output.iter_mut().zip(numbers) {
                    *y = grad(numbers, activation, *y, *y);
                }
            }
        }
    }
}
