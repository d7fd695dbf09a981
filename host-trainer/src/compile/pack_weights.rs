//! Constants in the order in which a processor's kernels read them.

use smidgen::geometry::Window;
use smidgen::kernels::int8::Folded;
use smidgen::kernels::int8::pairs::{self, PairedChannel};
use smidgen::kernels::int8::quads::{self, CHANNELS, QUAD_WORDS};
use smidgen::ops::conv_2d::pairs::Conv2dPairsI8;
use smidgen::ops::depthwise_conv_2d::quads::shapes as quads_shapes;
use smidgen::ops::fully_connected::pairs::shapes as pairs_shapes;
use smidgen::ops::int8::{CHANNEL_WORDS, Channel, OutputRange};
use smidgen::quantization::requantize;
use smidgen::{ElementType, Operator, Shape, Space};

use super::error::CompileError;
use super::program::{Buffer, BufferId, Program, VirtualStep};
use crate::graph::{Role, Value};

/// Which processors the constants of int8 layers are ordered for.
///
/// Whatever it is, the program runs everywhere with the same bits; see [`smidgen::kernels::int8`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Packing {
    /// None in particular: TensorFlow Lite's order.
    #[default]
    Plain,
    /// Processors with two 16-bit multiplications in an instruction: Cortex-M4, M7 and M33.
    Pairs,
}

/// Packs the constants of the layers that `packing` has a layout for, and that fit it; others stay as they are.
///
/// What a layout asks for is proved here of each layer: that no accumulator can leave the range that it has there, and that the
/// folded requantization is exact.
///
/// # Errors
/// [`CompileError::TooLarge`].
pub fn pack_weights(mut program: Program, packing: Packing) -> Result<Program, CompileError> {
    if packing == Packing::Plain {
        return Ok(program);
    }
    let mut entries = std::mem::take(&mut program.entries);
    for step in entries.iter_mut().flat_map(|entry| &mut entry.steps) {
        if let Some(packed) = Layer::of(&program, step).and_then(|layer| layer.packed(packing)) {
            let [input, ..] = *step.reads else { continue };
            let stream = program.add(Buffer {
                name: format!("{}/stream", step.name),
                space: Space::Constant,
                role: Role::Constant,
                value: Some(Value::I32(packed.stream)),
                ..in_arena(packed.stream_shape, ElementType::I32)
            })?;
            let (shape, element_type) = packed.scratch;
            let scratch = Buffer { name: format!("{}/scratch", step.name), ..in_arena(shape, element_type) };
            let scratch = program.add(scratch)?;
            step.operator = packed.operator;
            step.reads = vec![input, stream];
            step.writes.push(scratch);
        }
    }
    program.entries = entries;
    Ok(program)
}

fn in_arena(shape: Shape, element_type: ElementType) -> Buffer {
    Buffer {
        name: String::new(),
        space: Space::Arena,
        shape,
        element_type,
        quantization: None,
        role: Role::Activation,
        value: None,
        view_of: None,
    }
}

/// What becomes of a step.
pub(super) struct Packed {
    pub(super) operator: Operator,
    pub(super) stream: Vec<i32>,
    pub(super) stream_shape: Shape,
    pub(super) scratch: (Shape, ElementType),
}

/// A layer with weights and channels that are known.
pub(super) struct Layer<'p> {
    pub(super) operator: Operator,
    pub(super) attributes: &'p [i32],
    /// Shape and zero point.
    pub(super) input: (Shape, i32),
    pub(super) output: (Shape, i32),
    pub(super) filter: &'p [i8],
    /// The records of the channels.
    pub(super) channels: &'p [i32],
}

impl<'p> Layer<'p> {
    fn of(program: &'p Program, step: &'p VirtualStep) -> Option<Self> {
        let (&[input, filter, channels], &[output]) = (step.reads.as_slice(), step.writes.as_slice()) else {
            return None;
        };
        let value = |id: BufferId| program.buffer(program.root(id)).value.as_ref();
        let (Some(Value::I8(filter)), Some(Value::I32(channels))) = (value(filter), value(channels)) else {
            return None;
        };
        let tensor = |id: BufferId| {
            let buffer = program.buffer(id);
            Some((buffer.shape, buffer.quantization?.zero_point))
        };
        let (input, output) = (tensor(input)?, tensor(output)?);
        Some(Self { operator: step.operator, attributes: &step.attributes, input, output, filter, channels })
    }

    fn channels(&self) -> impl ExactSizeIterator<Item = Channel> + '_ {
        self.channels.as_chunks::<CHANNEL_WORDS>().0.iter().map(|&words| Channel::from_words(words))
    }

    /// The layer in the layout of `packing`, if there is one for it and the layer fits it.
    pub(super) fn packed(&self, packing: Packing) -> Option<Packed> {
        match (packing, self.operator) {
            (Packing::Pairs, Operator::Conv2dI8) => self.conv_2d(),
            (Packing::Pairs, Operator::FullyConnectedI8) => self.fully_connected(),
            (Packing::Pairs, Operator::DepthwiseConv2dI8) => self.depthwise(),
            _ => None,
        }
    }

    fn conv_2d(&self) -> Option<Packed> {
        let (window, clamp) = Window::read(self.attributes).ok()?;
        let ((input, input_zero_point), (output, zero_point)) = (self.input, self.output);
        let range = OutputRange::read(clamp, 0, zero_point).ok()?;
        let params = Conv2dPairsI8 { window, input, output, input_zero_point, range };
        // In groups, the filter has fewer weights.
        if self.filter.len().checked_div(self.channels().len()) != params.weights() {
            return None;
        }
        self.pairs(Operator::Conv2dPairsI8, params.stream()?, params.scratch()?)
    }

    fn fully_connected(&self) -> Option<Packed> {
        let ((Shape([.., in_c]), _), (Shape([.., out_c]), _)) = (self.input, self.output);
        let [stream, scratch] = pairs_shapes(in_c, out_c)?;
        self.pairs(Operator::FullyConnectedPairsI8, stream, scratch)
    }

    /// As channel pairs, for a filter whose output channel is its first dimension.
    fn pairs(&self, operator: Operator, stream_shape: Shape, scratch: Shape) -> Option<Packed> {
        let (_, zero_point) = self.output;
        let weights = self.filter.len().checked_div(self.channels().len())?;
        let rows = self.filter.chunks_exact(weights).zip(self.channels());
        let channels = rows.map(|(weights, channel)| {
            let (bias, scale) = fold(weights.iter().copied(), channel, zero_point)?;
            Some(PairedChannel { weights, bias, scale })
        });
        let channels = channels.collect::<Option<Vec<_>>>()?;
        let mut stream = vec![0; stream_shape.elements()?];
        for (pair, stream) in channels.chunks(2).zip(stream.chunks_exact_mut(stream_shape.dims()[3])) {
            pairs::pack([pair.first().copied(), pair.get(1).copied()], stream)?;
        }
        Some(Packed { operator, stream, stream_shape, scratch: (scratch, ElementType::I32) })
    }

    /// As channel quads.
    fn depthwise(&self) -> Option<Packed> {
        let (window, _) = Window::read(self.attributes).ok()?;
        let ((input, _), (output, zero_point)) = (self.input, self.output);
        let [.., count] = input.dims();
        if output.dims()[3] != count {
            return None;
        }
        let [stream_shape, scratch] = quads_shapes(&window, input)?;
        let mut stream = vec![0; stream_shape.elements()?];
        let records: Vec<Channel> = self.channels().collect();
        for (quad, stream) in stream.as_chunks_mut::<QUAD_WORDS>().0.iter_mut().enumerate() {
            let weight = |index: usize, tap: usize| self.filter[tap * count + CHANNELS * quad + index];
            let mut channels = [(0, Folded::constant(0)); CHANNELS];
            for (index, channel) in channels.iter_mut().enumerate() {
                let taps = (0..self.filter.len() / count).map(|tap| weight(index, tap));
                *channel = fold(taps, *records.get(CHANNELS * quad + index)?, zero_point)?;
            }
            quads::pack(weight, channels, stream)?;
        }
        let operator = Operator::DepthwiseConv2dQuadsI8;
        Some(Packed { operator, stream, stream_shape, scratch: (scratch, ElementType::I8) })
    }
}

/// The bias and the folded requantization of a channel with these weights; of one whose weights are all zero, those of its output.
fn fold(weights: impl Iterator<Item = i8>, channel: Channel, zero_point: i32) -> Option<(i32, Folded)> {
    let Channel { bias, multiplier } = channel;
    let sum: u64 = weights.map(|weight| u64::from(weight.unsigned_abs())).sum();
    if sum == 0 {
        return Some((0, Folded::constant(requantize(bias, multiplier, zero_point, -128, 127))));
    }
    let bound = u64::from(bias.unsigned_abs()) + 128 * sum;
    Some((bias, Folded::new(multiplier, zero_point, bound)?))
}
