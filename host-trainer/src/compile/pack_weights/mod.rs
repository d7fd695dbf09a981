//! Constants in the order in which a processor's kernels read them.
//!
//! The layouts of a family of processors are a file of this folder, with one function: from a [`Layer`] as TensorFlow Lite has it to what it
//! becomes ([`Packed`]), or `None` if no layout of the family can hold it exactly. `docs/adding-an-operator.md` says how one adds a layout.

mod choose;
mod dsp;
mod single;
mod vectors;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::str::FromStr;

use smidgen::kernels::int8::Folded;
use smidgen::ops::int8::{CHANNEL_WORDS, Channel};
use smidgen::quantization::{Multiplier, requantize};
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
    /// Processors that multiply one pair of numbers at a time: Cortex-M0 and M3.
    Single,
    /// Processors with vectors of int8: Cortex-M55.
    Vectors,
}

/// What a model is to be best at, where there is a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Prefer {
    /// The fewest instructions.
    #[default]
    Speed,
    /// The smallest arena, and the fewest instructions that it allows.
    Ram,
    /// The shortest model.
    Flash,
}

impl Prefer {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Speed, Self::Ram, Self::Flash];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Speed => "speed",
            Self::Ram => "ram",
            Self::Flash => "flash",
        }
    }
}

/// Nothing that can be preferred has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} cannot be preferred, only {}", Prefer::ALL.map(Prefer::name).join(", "))]
pub struct UnknownPreference {
    /// The name.
    pub found: String,
}

impl FromStr for Prefer {
    type Err = UnknownPreference;

    fn from_str(name: &str) -> Result<Self, UnknownPreference> {
        let found = Self::ALL.into_iter().find(|prefer| prefer.name() == name);
        found.ok_or_else(|| UnknownPreference { found: name.to_owned() })
    }
}

impl fmt::Display for Prefer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Packs the constants of the layers that `packing` has a layout for, that fit it, and where `prefer` wants it; others stay as they are.
///
/// What a layout asks for is proved here of each layer: that no accumulator can leave the range that it has there, and that the
/// folded requantization is exact.
///
/// # Errors
/// [`CompileError::TooLarge`], and for [`Prefer::Ram`] those of [`plan_memory`](super::plan_memory()).
pub fn pack_weights(program: Program, packing: Packing, prefer: Prefer) -> Result<Program, CompileError> {
    if packing == Packing::Plain {
        return Ok(program);
    }
    match prefer {
        Prefer::Speed => packed(program, packing, &|_| true),
        Prefer::Ram => choose::least_memory(program, packing),
        Prefer::Flash => choose::least_flash(program, packing),
    }
}

/// Packs the steps that are wanted, by their number among those of all entries.
fn packed(
    mut program: Program,
    packing: Packing,
    wanted: &dyn Fn(usize) -> bool,
) -> Result<Program, CompileError> {
    let mut entries = std::mem::take(&mut program.entries);
    // A layer that stands in several entries has one stream.
    let mut streams: HashMap<(Operator, BufferId, BufferId), BufferId> = HashMap::new();
    let steps = entries.iter_mut().flat_map(|entry| &mut entry.steps).enumerate();
    for (_, step) in steps.filter(|&(index, _)| wanted(index)) {
        let Some(layer) = Layer::of(&program, step) else { continue };
        if let Some(packed) = layer.packed(packing) {
            let [input, filter, channels] = *step.reads else { continue };
            let stream = match streams.entry((packed.operator, filter, channels)) {
                Entry::Occupied(entry) => *entry.get(),
                Entry::Vacant(entry) => *entry.insert(program.add(Buffer {
                    name: format!("{}/stream", step.name),
                    space: Space::Constant,
                    role: Role::Constant,
                    value: Some(Value::I32(packed.stream)),
                    ..in_arena(packed.stream_shape, ElementType::I32)
                })?),
            };
            step.operator = packed.operator;
            step.reads = vec![input, stream];
            if let Some((shape, element_type)) = packed.scratch {
                let name = format!("{}/scratch", step.name);
                step.writes.push(program.add(Buffer { name, ..in_arena(shape, element_type) })?);
            }
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

/// What becomes of a step: it keeps its attributes, its first read (the input) and its first write (the output); the stream takes the place of the
/// other reads.
pub(super) struct Packed {
    pub(super) operator: Operator,
    pub(super) stream: Vec<i32>,
    pub(super) stream_shape: Shape,
    /// Memory that its kernel works in, if it needs any.
    pub(super) scratch: Option<(Shape, ElementType)>,
}

/// What a packed layer was.
pub(super) struct Unpacked {
    pub(super) operator: Operator,
    pub(super) filter: Vec<i8>,
    pub(super) filter_shape: Shape,
    /// The records of the channels.
    pub(super) channels: Vec<i32>,
}

impl Unpacked {
    /// From the operator, its attributes, the shapes of input and output, the output's zero point, and the stream; `None` for an operator that is
    /// not packed.
    pub(super) fn of(
        operator: Operator,
        attributes: &[i32],
        shapes: [Shape; 2],
        zero_point: i32,
        stream: &[i32],
    ) -> Option<Self> {
        dsp::unpacked(operator, attributes, shapes, zero_point, stream)
            .or_else(|| single::unpacked(operator, attributes, shapes, zero_point, stream))
            .or_else(|| vectors::unpacked(operator, attributes, shapes, stream))
    }
}

/// The record of a channel from its bias and its folded requantization: the inverse of [`fold`].
fn unfold(bias: i32, scale: Folded, zero_point: i32) -> [i32; CHANNEL_WORDS] {
    if scale.multiplier == 0 {
        // A constant: one half, times two to the power of one.
        let multiplier = Multiplier { multiplier: 1 << 30, shift: 1 };
        return Channel { bias: (scale.half >> 1) - zero_point, multiplier }.words();
    }
    let multiplier = Multiplier { multiplier: scale.multiplier, shift: -scale.exponent };
    Channel { bias, multiplier }.words()
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
        match packing {
            Packing::Plain => None,
            Packing::Pairs => dsp::packed(self),
            Packing::Single => single::packed(self),
            Packing::Vectors => vectors::packed(self),
        }
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
