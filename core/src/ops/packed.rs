//! What the operators on packed weights share: their operands, their checks, and the way from a step to a kernel.
//!
//! Such an operator reads the input and the stream, `i32`, and writes the output and, if its layout needs any, scratch memory. Its attributes are the
//! window, if it has one, and the clamp of the output. What differs is a [`Layout`].

use super::int8::{OutputRange, check_window, constant_bytes};
use super::operands::{has_shape, is, quantization};
use super::overlap::sample;
use crate::geometry::{WINDOW_ATTRIBUTES, Window};
use crate::kernels::int8::{PackedKernel, PackedLayer};
use crate::memory::{Memory, elements, elements_mut};
use crate::operand::{ElementType, Operand, Shape};
use crate::ops::call::Tensor;
use crate::step::{Step, StepError};

/// What an operator's layout asks of a step.
pub(super) struct Layout {
    /// Whether the operator has a window. Without one it is a fully connected layer, each of whose pixels is a row of its own.
    pub(super) windowed: bool,
    /// Whether there are as many output channels as input channels.
    pub(super) keeps_channels: bool,
    /// Element type of the scratch, if there is one.
    pub(super) scratch: Option<ElementType>,
    /// Shapes of the stream and of the scratch; `None` if the layout cannot hold the layer.
    pub(super) shapes: fn(&Window, Shape, Shape) -> Option<[Shape; 2]>,
    /// How far the output may run over the input, in an operator that may work in exactly the input's place where that is nothing.
    pub(super) in_place: Option<Distance>,
    /// What has to be proved of the stream. `None` if kernels compute something whatever it is.
    pub(super) proof: Option<Proof>,
}

/// How far an output may run over an input of these shapes.
pub(super) type Distance = fn(&Window, Shape, Shape) -> Option<usize>;

/// What has to be proved of each record of a stream.
pub(super) struct Proof {
    /// Whether these words are a record that has been packed, of a layer with this window and so many input channels.
    pub(super) is_sound: fn(&[i32], &Window, usize) -> bool,
    /// What is wrong with the record of this index if they are not.
    pub(super) error: fn(u32) -> StepError,
}

/// A step of such an operator.
struct Packed<'a> {
    window: Window,
    range: OutputRange,
    input: &'a Operand,
    stream: &'a Operand,
    output: &'a Operand,
    scratch: Option<&'a Operand>,
}

impl<'a> Packed<'a> {
    /// A step that has been checked. The scratch is what else it writes.
    #[inline(always)]
    fn read(step: Step<'a>, windowed: bool) -> Option<Self> {
        let ([input, stream], [output, scratch @ ..]) = (step.reads, step.writes) else {
            return None;
        };
        let (attributes, &[activation_min, activation_max]) = step.attributes.split_last_chunk()?;
        let window = if windowed { Window::of(attributes.first_chunk()?) } else { Window::ONE };
        let range =
            OutputRange { zero_point: output.quantization.zero_point, activation_min, activation_max };
        Some(Self { window, range, input, stream, output, scratch: scratch.first() })
    }
}

/// Checks a step.
pub(super) fn check(step: Step<'_>, constant: &[u8], layout: &Layout) -> Result<(), StepError> {
    step.reads::<2>()?;
    if layout.scratch.is_some() { step.writes::<2>().map(|_| ()) } else { step.writes::<1>().map(|_| ()) }?;
    let first = if layout.windowed { WINDOW_ATTRIBUTES } else { 0 };
    let (expected, found) = (first + 2, step.attributes.len());
    if found != expected {
        return Err(StepError::AttributeCount { expected: expected as u8, found: found as u8 });
    }
    if layout.windowed {
        Window::read(step.attributes)?;
    }
    let Packed { window, range, input, stream, output, scratch } =
        Packed::read(step, layout.windowed).ok_or(StepError::Memory)?;
    let zero_point = quantization(output, 2)?.zero_point;
    OutputRange::read(&[range.activation_min, range.activation_max], first as u8, zero_point)?;
    let wrong = |operand: u8| StepError::Shape { operand };
    is(input, 0, ElementType::I8)?;
    is(stream, 1, ElementType::I32)?;
    is(output, 2, ElementType::I8)?;
    if let (Some(scratch), Some(element_type)) = (scratch, layout.scratch) {
        is(scratch, 3, element_type)?;
    }
    quantization(input, 0)?;
    let fits = check_window(&window, input.shape, output.shape);
    fits.map_err(|tensor| wrong(if tensor == Tensor::Input { 0 } else { 2 }))?;
    let ([.., in_c], [.., out_c]) = (input.shape.0, output.shape.0);
    if layout.keeps_channels && in_c != out_c {
        return Err(wrong(2));
    }
    let [stream_shape, scratch_shape] =
        (layout.shapes)(&window, input.shape, output.shape).ok_or(wrong(1))?;
    has_shape(stream, 1, stream_shape)?;
    if let Some(scratch) = scratch {
        has_shape(scratch, 3, scratch_shape)?;
    }
    if let Some(distance) = layout.in_place
        && input.same_place(output)
        // Each sample in its own place.
        && distance(&window, sample(input.shape), sample(output.shape)) != Some(0)
    {
        return Err(StepError::Overlap { write: 0 });
    }
    let stream = constant_bytes(stream, 1, constant)?;
    let Some(Proof { is_sound, error }) = layout.proof else { return Ok(()) };
    let [.., words] = stream_shape.dims();
    for (record, words) in (0u32..).zip(elements::<i32>(stream)?.chunks_exact(words.max(1))) {
        if !is_sound(words, &window, in_c as usize) {
            return Err(error(record));
        }
    }
    Ok(())
}

/// How far the output may run over the input by a rule for windows. The step need not have been checked.
pub(super) fn overlap(step: Step<'_>, windowed: bool, rule: Distance) -> Option<usize> {
    if windowed {
        Window::read(step.attributes).ok()?;
    }
    let Packed { window, input, output, .. } = Packed::read(step, windowed)?;
    rule(&window, input.shape, output.shape)
}

/// The shapes of the stream, `[1, 1, records, words]`, and of the scratch, `[1, 1, 1, words]`, of a fully connected layer with so many inputs and outputs, in a
/// layout whose records hold `channels` outputs. Both numbers of words follow from the inputs. `None` if they do not fit.
pub(super) fn row_shapes(
    [in_c, out_c]: [u32; 2],
    channels: usize,
    record_words: fn(usize) -> usize,
    row_words: fn(usize) -> usize,
) -> Option<[Shape; 2]> {
    let inputs = Shape([out_c, 1, 1, in_c]).elements()?.checked_div(out_c as usize)?;
    let words = |words: usize| u32::try_from(words).ok();
    let stream = Shape([1, 1, out_c.div_ceil(channels as u32), words(record_words(inputs))?]);
    stream.elements()?;
    Some([stream, Shape::vector(words(row_words(inputs))?)])
}

/// Runs a step, one sample after another.
///
/// One function for all layouts, so that an image has it once.
#[inline(never)]
pub(super) fn run(
    step: Step<'_>,
    memory: &mut Memory<'_>,
    windowed: bool,
    kernel: PackedKernel,
) -> Result<(), StepError> {
    let Packed { window, range, input, stream, output, scratch } =
        Packed::read(step, windowed).ok_or(StepError::Memory)?;
    let padding = input.quantization.zero_point as i8;
    let ([n, in_h, in_w, in_c], [_, out_h, out_w, out_c]) = (input.shape.dims(), output.shape.dims());
    let (samples, size, out_size) = if windowed {
        (n, [in_h, in_w, in_c], [out_h, out_w, out_c])
    } else {
        (n * in_h * in_w, [1, 1, in_c], [1, 1, out_c])
    };
    let (mut both, stream, scratch) = memory.layer_views([input, stream], output, scratch)?;
    let stream = elements(stream)?;
    let layer = PackedLayer { window: &window, size, out_size, padding, range: range.words(), stream };
    let length = |[h, w, c]: [usize; 3]| h * w * c;
    let (in_sample, out_sample) = (length(size), length(out_size));
    for sample in 0..samples {
        let part = |length: usize| (sample * length, (sample + 1) * length);
        kernel(&layer, &mut both.part(part(in_sample), part(out_sample)), scratch);
    }
    range.clamp_all(elements_mut(both.output())?);
    Ok(())
}
