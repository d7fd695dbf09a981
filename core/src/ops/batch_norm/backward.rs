//! Backward passes: the sums that are the gradients of gamma and beta, and the gradient with respect to the input.

use super::{LANES, Runs, rows, rows_mut, scale_and_shift, whole, whole_mut};
use crate::kernels::channels::{columns, columns_mut, for_each_block, join};
use crate::kernels::each_isa::each_isa;
use crate::kernels::fma;
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
    grad_input_kernel(params, input, grad_output, moments, parameters, sums, grad_input);
}

each_isa! {
    fn grad_input_kernel<WIDE>(
        params: GradInputParams,
        input: Option<&'a [f32]>,
        grad_output: Option<&'a [f32]>,
        moments: &'a [f32],
        parameters: &'a [f32],
        sums: &'a [f32],
        grad_input: &'a mut [f32],
    ) {
        let ((mean, inv_std), (gamma, beta)) = (rows(moments), rows(parameters));
        let (grad_gamma, grad_beta) = rows(sums);
        let weight = 1.0 / params.batch_elements as f32;
        let runs = Runs::new(mean.len());
        for first in runs.blocks() {
            let mut lanes = Lanes::ZERO;
            for (c, lane) in runs.channels_of(first).zip(lanes.iter_mut()) {
                let (Some(&mean), Some(&inv_std), Some(&gamma), Some(&beta), Some(&grad_gamma), Some(&grad_beta)) =
                    (mean.get(c), inv_std.get(c), gamma.get(c), beta.get(c), grad_gamma.get(c), grad_beta.get(c))
                else {
                    continue;
                };
                let (scale, shift) = scale_and_shift(mean, inv_std, gamma, beta);
                let slope = -(scale * inv_std * grad_gamma * weight);
                let constant = -(scale * grad_beta * weight);
                [mean, scale, shift, slope, constant].into_iter().zip(lane).for_each(|(value, to)| *to = value);
            }
            with_known_activation!(
                params.activation,
                grad_input_runs(runs, first, input, grad_output, &lanes, grad_input)
            );
        }
    }
}

/// What [`grad_input`] needs of each lane's channel: `scale * g + (slope * (x - mean) + constant)`.
struct Lanes {
    mean: [f32; LANES],
    scale: [f32; LANES],
    shift: [f32; LANES],
    slope: [f32; LANES],
    constant: [f32; LANES],
}

impl Lanes {
    const ZERO: Self = Self {
        mean: [0.0; LANES],
        scale: [0.0; LANES],
        shift: [0.0; LANES],
        slope: [0.0; LANES],
        constant: [0.0; LANES],
    };

    /// Mean, scale, shift, slope and constant of each lane, to write.
    #[inline(always)]
    fn iter_mut(&mut self) -> impl Iterator<Item = [&mut f32; 5]> {
        let Self { mean, scale, shift, slope, constant } = self;
        let tables = mean.iter_mut().zip(scale).zip(shift.iter_mut().zip(slope)).zip(constant);
        tables.map(|(((mean, scale), (shift, slope)), constant)| [mean, scale, shift, slope, constant])
    }

    #[inline(always)]
    fn iter(&self) -> impl Iterator<Item = Lane> {
        let Self { mean, scale, shift, slope, constant } = self;
        let tables = mean.iter().zip(scale).zip(shift.iter().zip(slope)).zip(constant);
        tables.map(|(((&mean, &scale), (&shift, &slope)), &constant)| Lane {
            mean,
            scale,
            shift,
            slope,
            constant,
        })
    }
}

/// One of [`Lanes`].
struct Lane {
    mean: f32,
    scale: f32,
    shift: f32,
    slope: f32,
    constant: f32,
}

impl Lane {
    #[inline(always)]
    fn grad(&self, activation: Activation, x: f32, grad_output: f32) -> f32 {
        let g = activation.gradient(fma(x, self.scale, self.shift), grad_output);
        fma(self.scale, g, fma(self.slope, x - self.mean, self.constant))
    }
}

#[inline(always)]
fn grad_input_runs(
    activation: Activation,
    runs: Runs,
    first: usize,
    input: Option<&[f32]>,
    grad_output: Option<&[f32]>,
    lanes: &Lanes,
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
            for ((output, input), grad) in outputs.zip(inputs).zip(grads) {
                if let (Some(input), Some(grad), Some(output)) =
                    (whole(input), whole(grad), whole_mut(output))
                {
                    let elements = output.iter_mut().zip(input.iter().zip(grad));
                    for ((y, (&x, &grad)), lane) in elements.zip(lanes.iter()) {
                        *y = lane.grad(activation, x, grad);
                    }
                } else {
                    let elements = output.iter_mut().zip(input.iter().zip(grad));
                    for ((y, (&x, &grad)), lane) in elements.zip(lanes.iter()) {
                        *y = lane.grad(activation, x, grad);
                    }
                }
            }
        }
        (true, false) => {
            for (output, input) in outputs.zip(inputs) {
                if let (Some(input), Some(output)) = (whole(input), whole_mut(output)) {
                    for ((y, &x), lane) in output.iter_mut().zip(input).zip(lanes.iter()) {
                        *y = lane.grad(activation, x, *y);
                    }
                } else {
                    for ((y, &x), lane) in output.iter_mut().zip(input).zip(lanes.iter()) {
                        *y = lane.grad(activation, x, *y);
                    }
                }
            }
        }
        (false, true) => {
            for (output, grad) in outputs.zip(grads) {
                if let (Some(grad), Some(output)) = (whole(grad), whole_mut(output)) {
                    for ((y, &grad), lane) in output.iter_mut().zip(grad).zip(lanes.iter()) {
                        *y = lane.grad(activation, *y, grad);
                    }
                } else {
                    for ((y, &grad), lane) in output.iter_mut().zip(grad).zip(lanes.iter()) {
                        *y = lane.grad(activation, *y, grad);
                    }
                }
            }
        }
        (false, false) => {
            for output in outputs {
                for (y, lane) in output.iter_mut().zip(lanes.iter()) {
                    *y = lane.grad(activation, *y, *y);
                }
            }
        }
    }
}
