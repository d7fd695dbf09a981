//! int8 convolution with TensorFlow Lite Micro's arithmetic.

use crate::geometry::{Taps, WINDOW_ATTRIBUTES, Window};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Shape};
use crate::ops::int8::{
    CHANNEL_WORDS, Channel, FilterLayout, OutputRange, add_dots, channels_shape, check_channels,
};
use crate::ops::operands::{has_shape, is, quantization};
use crate::step::{Step, StepError};

/// What an int8 convolution is told besides its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The window.
    pub window: Window,
    /// Shape of the input, `[N, H, W, C_in]`.
    pub input: Shape,
    /// Shape of the output, `[N, H_out, W_out, C_out]`.
    pub output: Shape,
    /// What a tap in the padding reads: the input's zero point, in -128..=127.
    pub input_zero_point: i32,
    /// Zero point and clamp of the output.
    pub range: OutputRange,
}

/// `output = clamp(zero_point + multiplier * (bias + sum over k_y, k_x, in_c of filter * input))`.
///
/// `filter` is `[C_out, K_h, K_w, C_in]`; `channels` has a record (see [`Channel`]) per output channel, its bias with the input's zero
/// point folded in. The sum is exact if `|bias| + 128 * sum(|weight|)` of each channel is at most `i32::MAX`; it is rounded
/// only by [`requantize`](crate::quantization::requantize).
///
/// Otherwise the sum wraps. Slices that are shorter than the shapes say leave outputs unwritten or sums incomplete; nothing panics.
#[doc(alias = "Conv2d")]
pub fn forward(
    parameters: &Parameters,
    input: &[i8],
    filter: &[i8],
    channels: &[[i32; CHANNEL_WORDS]],
    output: &mut [i8],
) {
    let Parameters { window, input_zero_point, range, .. } = *parameters;
    let ([_, in_h, in_w, in_c], [_, out_h, out_w, out_c]) =
        (parameters.input.dims(), parameters.output.dims());
    let (kernel_row, in_row) = (window.x.kernel * in_c, in_w * in_c);
    let per_channel = (window.y.kernel * kernel_row).max(1);
    let samples = input.chunks_exact((in_h * in_row).max(1));
    for (input, output) in samples.zip(output.chunks_exact_mut((out_h * out_w * out_c).max(1))) {
        for (out_y, output) in output.chunks_exact_mut((out_w * out_c).max(1)).enumerate() {
            let y = window.y.taps(out_y, in_h);
            for (out_x, output) in output.chunks_exact_mut(out_c.max(1)).enumerate() {
                let x = window.x.taps(out_x, in_w);
                let patch = Patch::new(&window, [y, x], input_zero_point, [kernel_row, in_row, in_c]);
                let start = y.position * in_row + x.position * in_c;
                let input = input.get(start..).unwrap_or_default();
                // Four output channels at once, then what is left of them.
                let (outputs, outputs_left) = output.as_chunks_mut::<4>();
                let (channels, channels_left) =
                    channels.split_at_checked(outputs.len() * 4).unwrap_or_default();
                let filters = filter.chunks_exact(per_channel * 4);
                for ((output, channels), filter) in
                    outputs.iter_mut().zip(channels.as_chunks().0).zip(filters)
                {
                    patch.finish(input, filter, per_channel, channels, output, range);
                }
                let filters = filter.get(outputs.len() * 4 * per_channel..).unwrap_or_default();
                let left = outputs_left.iter_mut().zip(channels_left).zip(filters.chunks_exact(per_channel));
                for ((output, channel), filter) in left {
                    let (outputs, channels) = (core::array::from_mut(output), core::array::from_ref(channel));
                    patch.finish(input, filter, per_channel, channels, outputs, range);
                }
            }
        }
    }
}

/// The part of the input under one output pixel's window, as runs of neighbouring elements.
#[derive(Clone, Copy)]
struct Patch {
    /// Taps over the height that lie in the input.
    y: Taps,
    /// Weights of one row of the window.
    kernel_row: usize,
    /// The weights of a row that lie in the input: `first..end`.
    first: usize,
    end: usize,
    /// Elements in a run: a row of the window, or one pixel if the window is dilated.
    run: usize,
    /// From a run to the next one in a row of the window.
    run_stride: usize,
    /// From a row of the window to the next.
    row_stride: usize,
    /// Whether some taps lie in the padding.
    padded: bool,
    zero_point: i32,
}

impl Patch {
    #[inline(always)]
    fn new(
        window: &Window,
        [y, x]: [Taps; 2],
        zero_point: i32,
        [kernel_row, in_row, in_c]: [usize; 3],
    ) -> Self {
        let run = if window.x.dilation == 1 { x.count() * in_c } else { in_c };
        Self {
            y,
            kernel_row,
            first: x.start * in_c,
            end: x.end * in_c,
            run,
            run_stride: window.x.dilation * in_c,
            row_stride: window.y.dilation * in_row,
            padded: x.count() != window.x.kernel || y.count() != window.y.kernel,
            zero_point,
        }
    }

    /// Computes one output pixel's `COUNT` neighbouring channels, whose filters of `per_channel` weights each follow each
    /// other. `input` begins at the first tap that lies in the input.
    #[inline(always)]
    fn finish<const COUNT: usize>(
        &self,
        input: &[i8],
        filter: &[i8],
        per_channel: usize,
        channels: &[[i32; CHANNEL_WORDS]; COUNT],
        output: &mut [i8; COUNT],
        range: OutputRange,
    ) {
        let channels = channels.map(Channel::from_words);
        let mut sums = channels.map(|channel| channel.bias);
        let mut filters: [&[i8]; COUNT] = [&[]; COUNT];
        for (slot, filter) in filters.iter_mut().zip(filter.chunks_exact(per_channel)) {
            *slot = filter;
        }
        if self.padded {
            for (sum, filter) in sums.iter_mut().zip(filters) {
                *sum = sum.wrapping_add(self.zero_point.wrapping_mul(self.padding_weights(filter)));
            }
        }
        for tap in 0..self.y.count() {
            let weights = (self.y.start + tap) * self.kernel_row;
            let (mut weight, end) = (weights + self.first, weights + self.end);
            let mut at = tap * self.row_stride;
            while weight < end {
                let Some(run) = input.get(at..at + self.run) else { break };
                let rows = filters.map(|filter| filter.get(weight..weight + self.run).unwrap_or_default());
                add_dots(run, rows, &mut sums);
                weight += self.run;
                at += self.run_stride;
            }
        }
        for ((output, sum), channel) in output.iter_mut().zip(sums).zip(channels) {
            *output = range.requantize(sum, channel.multiplier);
        }
    }

    /// The sum of the weights of `filter` whose taps lie in the padding.
    fn padding_weights(&self, filter: &[i8]) -> i32 {
        let sum = |weights: &[i8]| weights.iter().map(|&weight| i32::from(weight)).sum::<i32>();
        let rows = filter.chunks_exact(self.kernel_row.max(1)).enumerate();
        rows.map(|(k_y, row)| {
            let inside = if (self.y.start..self.y.end).contains(&k_y) {
                row.get(self.first..self.end).unwrap_or_default()
            } else {
                &[]
            };
            sum(row) - sum(inside)
        })
        .sum()
    }
}

/// How many attributes the operator has.
const ATTRIBUTES: usize = WINDOW_ATTRIBUTES + 2;

fn parameters(step: &Step) -> Result<(Parameters, [&Operand; 4]), StepError> {
    let ([input, filter, channels], [output]) = (step.reads()?, step.writes()?);
    step.attributes::<ATTRIBUTES>()?;
    let (window, range) = Window::read(&step.attributes)?;
    let range = OutputRange::read(range, WINDOW_ATTRIBUTES as u8, quantization(output, 3)?.zero_point)?;
    let input_zero_point = quantization(input, 0)?.zero_point;
    let parameters = Parameters { window, input: input.shape, output: output.shape, input_zero_point, range };
    Ok((parameters, [input, filter, channels, output]))
}

pub(in crate::ops) fn check(step: &Step, constant: &[u8]) -> Result<(), StepError> {
    let (Parameters { window, .. }, [input, filter, channels, output]) = parameters(step)?;
    for (index, operand) in [input, filter, output].into_iter().zip([0, 1, 3]).map(|(o, i)| (i, o)) {
        is(operand, index, ElementType::I8)?;
    }
    is(channels, 2, ElementType::I32)?;
    let (Shape([in_n, _, _, in_c]), Shape([out_n, _, _, out_c])) = (input.shape, output.shape);
    let (k_h, k_w) = (window.y.kernel, window.x.kernel);
    has_shape(filter, 1, Shape([out_c, k_h as u32, k_w as u32, in_c]))?;
    has_shape(channels, 2, channels_shape(out_c))?;
    if in_n != out_n || !window.fits(input.shape, output.shape) {
        return Err(StepError::Shape { operand: 3 });
    }
    let weights = filter.shape.elements().and_then(|all| all.checked_div(out_c as usize));
    let weights = weights.ok_or(StepError::Shape { operand: 1 })?;
    let layout = FilterLayout { weights, channel_stride: weights, weight_stride: 1 };
    check_channels(filter, channels, layout, constant)
}

pub(in crate::ops) fn run(step: &Step, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (parameters, [input, filter, channels, output]) = parameters(step)?;
    let Views { reads: [input, filter, channels], writes: [output] } =
        memory.views([input, filter, channels], [output])?;
    let channels = elements::<i32>(channels)?.as_chunks().0;
    forward(&parameters, elements(input)?, elements(filter)?, channels, elements_mut(output)?);
    Ok(())
}
