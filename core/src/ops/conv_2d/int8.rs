//! int8 convolution with TensorFlow Lite Micro's arithmetic.

use super::groups;
use crate::geometry::{Taps, WINDOW_ATTRIBUTES, Window};
use crate::kernels::pieces::pieces;
use crate::memory::{InOut, Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Shape};
use crate::ops::call::{CallError, Tensor, unchecked};
use crate::ops::fully_connected;
use crate::ops::int8::{
    CHANNEL_WORDS, Channel, FilterLayout, OutputRange, add_dots, channels_shape, check_channels,
    check_lengths, check_window, wrong_shape,
};
use crate::ops::operands::{has_shape, is, quantization};
use crate::step::{Step, StepError};

/// Weights of an output channel up to which a pixel's inputs are gathered on the stack first.
const GATHERED: usize = 640;

/// What an int8 convolution is told besides its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dI8 {
    /// The window.
    pub window: Window,
    /// Shape of the input, `[N, H, W, C_in]`.
    pub input: Shape,
    /// Shape of the filter, `[C_out, K_h, K_w, C_in / groups]`.
    pub filter: Shape,
    /// Shape of the output, `[N, H_out, W_out, C_out]`, `C_out` a multiple of the groups.
    pub output: Shape,
    /// What a tap in the padding reads: the input's zero point, in -128..=127.
    pub input_zero_point: i32,
    /// Zero point and clamp of the output.
    pub range: OutputRange,
}

impl Conv2dI8 {
    /// How many groups the channels are in: the first of as many equal parts of the output's channels sees only the first of the
    /// input's, and so on. `None` if the input's channels are not a multiple of the filter's, or the output's not of the groups.
    pub fn groups(&self) -> Option<usize> {
        groups(self.input, self.filter.dims()[3], self.output)
    }

    fn check(&self) -> Result<(), Tensor> {
        let Window { y, x } = self.window;
        let ([filter_n, k_h, k_w, _], [.., out_c]) = (self.filter.dims(), self.output.dims());
        if [filter_n, k_h, k_w] != [out_c, y.kernel, x.kernel] || self.groups().is_none() {
            return Err(Tensor::Filter);
        }
        check_window(&self.window, self.input, self.output)
    }
}

/// `output = clamp(zero_point + multiplier * (bias + sum over k_y, k_x, in_c of filter * input))`, over the input channels of the
/// output channel's group.
///
/// `filter` is `[C_out, K_h, K_w, C_in / groups]`; `channels` has a record (see [`Channel`]) per output channel, its bias with the input's zero
/// point folded in. The sum is exact if `|bias| + 128 * sum(|weight|)` of each channel is at most `i32::MAX`; it is rounded
/// only by [`requantize`](crate::quantization::requantize).
///
/// Otherwise the sum wraps.
///
/// # Errors
/// [`CallError`] if the shapes do not fit each other or a slice does not fit its shape.
#[doc(alias = "Conv2d")]
pub fn forward(
    params: &Conv2dI8,
    input: &[i8],
    filter: &[i8],
    channels: &[[i32; CHANNEL_WORDS]],
    output: &mut [i8],
) -> Result<(), CallError> {
    params.check().map_err(|tensor| CallError::Shape { tensor })?;
    let lengths = [input.len(), filter.len(), channels.len(), output.len()];
    check_lengths([params.input, params.filter, params.output], lengths)?;
    let groups = params.groups().unwrap_or(1).max(1);
    let Conv2dI8 { window, range, .. } = *params;
    let ([_, in_h, in_w, in_c], [_, out_h, out_w, out_c]) = (params.input.dims(), params.output.dims());
    if window == Window::ONE && groups == 1 {
        fully_connected::int8::rows([in_c, out_c], range, input, filter, channels, output);
        return Ok(());
    }
    let per_channel = (window.y.kernel * window.x.kernel * (in_c / groups)).max(1);
    if groups == 1 && per_channel <= GATHERED {
        let sample = [params.input, params.output].map(|Shape([_, h, w, c])| Shape([1, h, w, c]));
        let params = Conv2dI8 { input: sample[0], output: sample[1], ..*params };
        for (input, output) in pieces((input, output), [in_h * in_w * in_c, out_h * out_w * out_c]) {
            pixel_by_pixel(&params, &mut InOut::apart(input, output), filter, channels);
        }
        return Ok(());
    }
    in_groups(params, groups, input, filter, channels, output);
    Ok(())
}

/// A layer in groups, or with windows that are not gathered.
#[inline(never)]
fn in_groups(
    params: &Conv2dI8,
    groups: usize,
    input: &[i8],
    filter: &[i8],
    channels: &[[i32; CHANNEL_WORDS]],
    output: &mut [i8],
) {
    let Conv2dI8 { window, input_zero_point, range, .. } = *params;
    let ([_, in_h, in_w, in_c], [_, out_h, out_w, out_c]) = (params.input.dims(), params.output.dims());
    let groups = groups.max(1);
    let (group_c, group_out_c, in_row) = (in_c / groups, out_c / groups, in_w * in_c);
    let kernel_row = window.x.kernel * group_c;
    let per_channel = (window.y.kernel * kernel_row).max(1);
    let mut gathered = [0; GATHERED];
    let mut gathered = gathered.get_mut(..per_channel);
    let in_length = in_h * in_row;
    for (input, output) in pieces((input, output), [in_length, out_h * out_w * out_c]) {
        for (out_y, output) in output.chunks_exact_mut((out_w * out_c).max(1)).enumerate() {
            let y = window.y.taps(out_y, in_h);
            for (out_x, output) in output.chunks_exact_mut(out_c.max(1)).enumerate() {
                let x = window.x.taps(out_x, in_w);
                let patch =
                    Patch::new(&window, [y, x], input_zero_point, [kernel_row, in_row, in_c, group_c]);
                let start = y.position * in_row + x.position * in_c;
                let parts = filter
                    .chunks_exact((per_channel * group_out_c).max(1))
                    .zip(channels.chunks_exact(group_out_c.max(1)));
                for (group, (output, (filter, channels))) in
                    output.chunks_exact_mut(group_out_c.max(1)).zip(parts).enumerate()
                {
                    let input = input.get(start + group * group_c..).unwrap_or_default();
                    match &mut gathered {
                        Some(gathered) => {
                            patch.gather(input, gathered);
                            let shape = [per_channel, group_out_c];
                            fully_connected::int8::rows(shape, range, gathered, filter, channels, output);
                        }
                        None => patch.finish_all(input, filter, per_channel, channels, output, range),
                    }
                }
            }
        }
    }
}

/// One sample in one group, with windows that can be gathered: each pixel reads all that it needs before it is written, so that the output may
/// run over the input as far as [`overlap`] says.
fn pixel_by_pixel(params: &Conv2dI8, both: &mut InOut<'_>, filter: &[i8], channels: &[[i32; CHANNEL_WORDS]]) {
    let Conv2dI8 { window, input_zero_point, range, .. } = *params;
    let ([_, in_h, in_w, in_c], [_, out_h, out_w, out_c]) = (params.input.dims(), params.output.dims());
    let (in_row, kernel_row) = (in_w * in_c, window.x.kernel * in_c);
    let per_channel = (window.y.kernel * kernel_row).max(1);
    let mut gathered = [0; GATHERED];
    let Some(gathered) = gathered.get_mut(..per_channel) else { return };
    let mut pixel = 0;
    for out_y in 0..out_h {
        let y = window.y.taps(out_y, in_h);
        for out_x in 0..out_w {
            let x = window.x.taps(out_x, in_w);
            let patch = Patch::new(&window, [y, x], input_zero_point, [kernel_row, in_row, in_c, in_c]);
            let start = y.position * in_row + x.position * in_c;
            let input: &[i8] = elements(both.input()).unwrap_or_default();
            patch.gather(input.get(start..).unwrap_or_default(), gathered);
            let output: &mut [i8] = elements_mut(both.output()).unwrap_or_default();
            let output = output.get_mut(pixel..pixel + out_c).unwrap_or_default();
            fully_connected::int8::rows([per_channel, out_c], range, gathered, filter, channels, output);
            pixel += out_c;
        }
    }
}

/// How far the output may run over the input, see [`overlap`](crate::ops::overlap).
pub(in crate::ops) fn overlap(step: Step<'_>) -> Option<usize> {
    let (params, ..) = params(step).ok()?;
    let [_, k_h, k_w, group_c] = params.filter.dims();
    let per_channel = k_h.checked_mul(k_w)?.checked_mul(group_c)?;
    if params.groups()? != 1 || per_channel > GATHERED {
        return None;
    }
    crate::ops::overlap::pixel_by_pixel(&params.window, params.input, params.output)
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
    /// Elements in a run: a row of the window, or one pixel's channels of the group if these are not neighbours.
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
        [kernel_row, in_row, in_c, group_c]: [usize; 4],
    ) -> Self {
        let whole_rows = window.x.dilation == 1 && group_c == in_c;
        let run = if whole_rows { x.count() * in_c } else { group_c };
        Self {
            y,
            kernel_row,
            first: x.start * group_c,
            end: x.end * group_c,
            run,
            run_stride: window.x.dilation * in_c,
            row_stride: window.y.dilation * in_row,
            padded: x.count() != window.x.kernel || y.count() != window.y.kernel,
            zero_point,
        }
    }

    /// Copies what the window reads to `taps`, the zero point for taps in the padding.
    #[inline(always)]
    fn gather(&self, input: &[i8], taps: &mut [i8]) {
        if self.padded {
            taps.fill(self.zero_point as i8);
        }
        for tap in 0..self.y.count() {
            let row = (self.y.start + tap) * self.kernel_row;
            let Some(taps) = taps.get_mut(row + self.first..row + self.end) else { break };
            let mut at = tap * self.row_stride;
            for taps in taps.chunks_mut(self.run.max(1)) {
                for (tap, &value) in taps.iter_mut().zip(input.get(at..).unwrap_or_default()) {
                    *tap = value;
                }
                at += self.run_stride;
            }
        }
    }

    /// Computes one output pixel's channels, those of a group: four at once, then what is left of them.
    #[inline(always)]
    fn finish_all(
        &self,
        input: &[i8],
        filter: &[i8],
        per_channel: usize,
        channels: &[[i32; CHANNEL_WORDS]],
        output: &mut [i8],
        range: OutputRange,
    ) {
        let (outputs, outputs_left) = output.as_chunks_mut::<4>();
        let (channels, channels_left) = channels.split_at_checked(outputs.len() * 4).unwrap_or_default();
        let filters = filter.chunks_exact((per_channel * 4).max(1));
        for ((output, channels), filter) in outputs.iter_mut().zip(channels.as_chunks().0).zip(filters) {
            self.finish(input, filter, per_channel, channels, output, range);
        }
        let filters = filter.get(outputs.len() * 4 * per_channel..).unwrap_or_default();
        let left = outputs_left.iter_mut().zip(channels_left).zip(filters.chunks_exact(per_channel));
        for ((output, channel), filter) in left {
            let (outputs, channels) = (core::array::from_mut(output), core::array::from_ref(channel));
            self.finish(input, filter, per_channel, channels, outputs, range);
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
    #[inline(never)]
    fn padding_weights(&self, filter: &[i8]) -> i32 {
        let sum = |weights: &[i8]| weights.iter().map(|&weight| i32::from(weight)).sum::<i32>();
        let rows = filter.chunks_exact(self.kernel_row.max(1)).enumerate();
        rows.map(|(k_y, row)| {
            let inside =
                if self.y.contains(k_y) { row.get(self.first..self.end).unwrap_or_default() } else { &[] };
            sum(row) - sum(inside)
        })
        .sum()
    }
}

/// How many attributes the operator has.
const ATTRIBUTES: usize = WINDOW_ATTRIBUTES + 2;

/// With the input, the filter, the channels and the output.
fn params(step: Step<'_>) -> Result<(Conv2dI8, [&Operand; 4]), StepError> {
    let ([input, filter, channels], [output]) = (step.reads()?, step.writes()?);
    step.attributes::<ATTRIBUTES>()?;
    let (window, range) = Window::read(step.attributes)?;
    let range = OutputRange::read(range, WINDOW_ATTRIBUTES as u8, quantization(output, 3)?.zero_point)?;
    let input_zero_point = quantization(input, 0)?.zero_point;
    let (input_shape, filter_shape, output_shape) = (input.shape, filter.shape, output.shape);
    let params = Conv2dI8 {
        window,
        input: input_shape,
        filter: filter_shape,
        output: output_shape,
        input_zero_point,
        range,
    };
    Ok((params, [input, filter, channels, output]))
}

pub(in crate::ops) fn check(step: Step<'_>, constant: &[u8]) -> Result<(), StepError> {
    let (params, [input, filter, channels, output]) = params(step)?;
    is(input, 0, ElementType::I8)?;
    is(filter, 1, ElementType::I8)?;
    is(channels, 2, ElementType::I32)?;
    is(output, 3, ElementType::I8)?;
    let [.., out_c] = output.shape.0;
    params.check().map_err(wrong_shape)?;
    has_shape(channels, 2, channels_shape(out_c))?;
    let weights = filter.shape.elements().and_then(|all| all.checked_div(out_c as usize));
    let weights = weights.ok_or(StepError::Shape { operand: 1 })?;
    let layout = FilterLayout { weights, channel_stride: weights, weight_stride: 1 };
    check_channels(filter, channels, layout, constant)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (params, [input, filter, channels, output]) = params(step)?;
    let (mut both, Views { reads: [_, filter, channels], .. }) =
        memory.over([input, filter, channels], [output])?;
    let (filter, channels) = (elements(filter)?, elements::<i32>(channels)?.as_chunks().0);
    if let InOut::Apart { input, output } = both {
        return forward(&params, elements(input)?, filter, channels, elements_mut(output)?)
            .map_err(unchecked);
    }
    // One sample: more never overlap.
    pixel_by_pixel(&params, &mut both, filter, channels);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::ops::Operator;
    use crate::ops::int8::reference::{
        Case, Random, at, expect_clamp_errors, expect_constant_errors, expect_operand_errors, requantize,
        requantize_once, runs_over_its_input, shape,
    };
    use crate::quantization::Multiplier;

    struct Problem {
        window: Window,
        input: [usize; 4],
        output: [usize; 4],
        groups: usize,
        zero_points: [i32; 2],
        clamp: [i32; 2],
        filter: Vec<i8>,
        channels: Vec<Channel>,
    }

    impl Problem {
        fn random(random: &mut Random) -> Self {
            let (window, [in_h, in_w]) = random.window();
            let (n, in_c, out_c) = (random.size(1, 2), random.size(1, 9), random.size(1, 9));
            let groups = [1, 1, 2, 3, 4][random.size(0, 4)];
            // Now and then more weights than are gathered.
            let in_c = if random.size(0, 3) == 0 { in_c * 80 } else { in_c };
            let (in_c, out_c) = if groups == 1 { (in_c, out_c) } else { (in_c * groups, out_c * groups) };
            let (out_h, out_w) = (window.y.output(in_h).unwrap(), window.x.output(in_w).unwrap());
            let weights = window.y.kernel * window.x.kernel * in_c / groups;
            let filter = random.bytes(out_c * weights);
            let zero_points = [random.zero_point(), random.zero_point()];
            let channels =
                filter.chunks(weights).map(|w| random.channel(w.iter().copied(), zero_points[0])).collect();
            let clamp = random.clamp();
            let (input, output) = ([n, in_h, in_w, in_c], [n, out_h, out_w, out_c]);
            Self { window, input, output, groups, zero_points, clamp, filter, channels }
        }

        fn case(&self) -> Case {
            let group_c = self.input[3] / self.groups;
            let filter = [self.output[3], self.window.y.kernel, self.window.x.kernel, group_c];
            let attributes = [self.window.attributes().as_slice(), &self.clamp].concat();
            Case::new(Operator::Conv2dI8, &attributes)
                .reads(ElementType::I8, shape(self.input), at(self.zero_points[0]))
                .constant(ElementType::I8, shape(filter), &self.filter)
                .channels(&self.channels)
                .writes(ElementType::I8, shape(self.output), at(self.zero_points[1]))
        }

        /// From the definition, in 64 bits; the input's zero point is taken off each tap, and the padding adds nothing.
        fn expected(&self, input: &[i8], finish: impl Fn(i64, Multiplier, i32, [i32; 2]) -> i8) -> Vec<i8> {
            let ([n, in_h, in_w, in_c], [_, out_h, out_w, out_c]) = (self.input, self.output);
            let Window { y, x } = self.window;
            let group_c = in_c / self.groups;
            let weight = |c: usize, k_y: usize, k_x: usize, i: usize| {
                i64::from(self.filter[((c * y.kernel + k_y) * x.kernel + k_x) * group_c + i])
            };
            let zero_point = i64::from(self.zero_points[0]);
            let mut output = Vec::new();
            for (b, out_y, out_x, c) in (0..n).flat_map(|b| {
                (0..out_h)
                    .flat_map(move |h| (0..out_w).flat_map(move |w| (0..out_c).map(move |c| (b, h, w, c))))
            }) {
                let mut sum = i64::from(self.channels[c].bias);
                for (k_y, k_x, i) in (0..y.kernel)
                    .flat_map(|h| (0..x.kernel).flat_map(move |w| (0..group_c).map(move |i| (h, w, i))))
                {
                    // The bias has the zero point folded in; this takes it out again.
                    sum += zero_point * weight(c, k_y, k_x, i);
                    if let (Some(at_y), Some(at_x)) = (y.input(out_y, k_y, in_h), x.input(out_x, k_x, in_w)) {
                        let in_c_of_group = c / (out_c / self.groups) * group_c + i;
                        let tap = i64::from(input[((b * in_h + at_y) * in_w + at_x) * in_c + in_c_of_group]);
                        sum += (tap - zero_point) * weight(c, k_y, k_x, i);
                    }
                }
                output.push(finish(sum, self.channels[c].multiplier, self.zero_points[1], self.clamp));
            }
            output
        }
    }

    #[test]
    fn equals_the_definition() {
        let mut random = Random(1);
        let (mut differ_if_rounded_once, mut saturated) = (0, [0, 0]);
        for _ in 0..400 {
            let problem = Problem::random(&mut random);
            let input = random.bytes(problem.input.iter().product());
            let found: Vec<i8> = problem.case().run(&[&input]);
            assert_eq!(
                found,
                problem.expected(&input, requantize),
                "{:?} {:?}",
                problem.window,
                problem.input
            );
            differ_if_rounded_once += usize::from(found != problem.expected(&input, requantize_once));
            saturated[0] += found.iter().filter(|&&value| value == -128).count();
            saturated[1] += found.iter().filter(|&&value| value == 127).count();
        }
        // The reference tells the two rules apart, and the problems reach both ends.
        assert!(differ_if_rounded_once > 0 && saturated[0] > 0 && saturated[1] > 0);
    }

    fn single(channel: Channel) -> Problem {
        let window = Window::read(&[1, 1, 1, 1, 0, 0, 0, 0, 1, 1]).unwrap().0;
        Problem {
            window,
            input: [1; 4],
            output: [1; 4],
            groups: 1,
            zero_points: [0; 2],
            clamp: [-128, 127],
            filter: [1].into(),
            channels: [channel].into(),
        }
    }

    #[test]
    fn output_may_run_over_the_input_as_far_as_it_says() {
        let mut random = Random(8);
        runs_over_its_input(&mut random, |random| {
            let problem = Problem::random(random);
            (problem.case(), shape(problem.input))
        });
    }

    #[test]
    fn check_says_what_is_wrong() {
        let mut random = Random(2);
        let case = Problem::random(&mut random).case();
        expect_operand_errors(&case, &[0, 3]);
        expect_clamp_errors(&case, WINDOW_ATTRIBUTES);
        expect_constant_errors(&case, |channel| single(channel).case());
        case.expect(StepError::ZeroWindow { index: 2 }, |step| step.attributes[2] = 0);
        for (dim, operand) in [(0, 3), (1, 3), (2, 3)] {
            case.expect(StepError::Shape { operand }, |step| step.writes[0].shape.0[dim] += 1);
        }
        case.expect(StepError::Shape { operand: 1 }, |step| step.writes[0].shape.0[3] += 1);
        case.expect(StepError::Shape { operand: 1 }, |step| step.reads[0].shape.0[3] = 0);
        // Two groups of two channels to two channels each, and what is no such thing.
        let mut grouped = single(Channel { bias: 0, multiplier: Multiplier { multiplier: 0, shift: 0 } });
        grouped.input[3] = 4;
        grouped.output[3] = 4;
        grouped.groups = 2;
        grouped.filter = std::vec![1; 8];
        grouped.channels = std::vec![grouped.channels[0]; 4];
        let case = grouped.case();
        assert_eq!(case.check(), Ok(()));
        for channels in [3, 6, 0] {
            case.expect(StepError::Shape { operand: 1 }, |step| step.reads[0].shape.0[3] = channels);
        }
        case.expect(StepError::Shape { operand: 1 }, |step| step.reads[1].shape.0[3] = 3);
        case.expect(StepError::Shape { operand: 1 }, |step| step.reads[1].shape.0[3] = 0);
        case.expect(StepError::Shape { operand: 1 }, |step| step.reads[1].shape.0[0] = 2);
    }

    #[test]
    fn the_accumulator_bound_is_exact() {
        let multiplier = Multiplier { multiplier: 1 << 30, shift: 0 };
        let bound = i32::MAX - 128;
        for (bias, fits) in [(bound, true), (-bound, true), (bound + 1, false), (-bound - 1, false)] {
            let found = single(Channel { bias, multiplier }).case().check();
            assert_eq!(found, if fits { Ok(()) } else { Err(StepError::Accumulator { channel: 0 }) });
        }
    }

    #[test]
    fn shapes_and_lengths_are_checked() {
        let problem = Problem::random(&mut Random(3));
        let (params, ..) = params(problem.case().step.step()).unwrap();
        let input = std::vec![0; problem.input.iter().product()];
        let mut output = std::vec![0; problem.output.iter().product()];
        let records: Vec<_> = problem.channels.iter().map(|channel| channel.words()).collect();
        let (filter, expected) = (&problem.filter, [input.len(), problem.filter.len(), records.len()]);
        let wrong = |index: usize, tensor| {
            Err(CallError::Length { tensor, expected: expected[index], found: expected[index] - 1 })
        };
        assert_eq!(forward(&params, &input, filter, &records, &mut output), Ok(()));
        let found = forward(&params, &input[1..], filter, &records, &mut output);
        assert_eq!(found, wrong(0, Tensor::Input));
        let found = forward(&params, &input, &filter[1..], &records, &mut output);
        assert_eq!(found, wrong(1, Tensor::Filter));
        let found = forward(&params, &input, filter, &records[1..], &mut output);
        assert_eq!(found, wrong(2, Tensor::Bias));
        let mut other = params;
        other.output.0[1] += 1;
        let found = forward(&other, &input, filter, &records, &mut output);
        assert_eq!(found, Err(CallError::Shape { tensor: Tensor::Output }));
    }
}
