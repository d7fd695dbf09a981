//! Constants in the order in which a processor's kernels read them.
//!
//! The layouts of a family of processors are a file of this folder, with one function: from a [`Layer`] as TensorFlow Lite has it to what it
//! becomes in each layout that can hold it exactly ([`Packed`]). Which layout a layer gets is decided by what it costs ([`Costs`]). `docs/adding-an-operator.md` says how one adds a layout.

mod choose;
mod costs;
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

pub use self::costs::{Code, Costs, LayerShape, TERMS, Terms};
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
    /// Armv6-M: Cortex-M0.
    Armv6m,
    /// Armv7-M: Cortex-M3.
    Armv7m,
    /// Processors with two 16-bit multiplications in an instruction: Cortex-M4, M7 and M33.
    Dsp,
    /// Processors with vectors of int8: Cortex-M55.
    Helium,
}

impl Packing {
    /// Those that order anything.
    pub const ALL: [Self; 4] = [Self::Armv6m, Self::Armv7m, Self::Dsp, Self::Helium];

    /// Its name in the table of costs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Armv6m => "armv6m",
            Self::Armv7m => "armv7m",
            Self::Dsp => "dsp",
            Self::Helium => "helium",
        }
    }
}

/// What a model is to be best at, where there is a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Prefer {
    /// The fewest instructions, to within two thousandths; of what is left to choose, the fewest bytes.
    #[default]
    Speed,
    /// The smallest arena, and the fewest instructions that it allows.
    Ram,
    /// The fewest bytes of constants and kernels, and the fewest instructions that they allow.
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

/// Orders the constants of each layer in the way that suits the processors of `packing` and `prefer`, by the table of what the ways cost.
///
/// What a layout asks for is proved here of each layer: that no accumulator can leave the range that it has there, and that the
/// folded requantization is exact.
///
/// # Errors
/// [`CompileError::TooLarge`], and for [`Prefer::Ram`] those of [`plan_memory`](super::plan_memory()).
pub fn pack_weights(program: Program, packing: Packing, prefer: Prefer) -> Result<Program, CompileError> {
    let Some(costs) = Costs::of(packing) else { return Ok(program) };
    let steps = program.entries.iter().flat_map(|entry| &entry.steps).enumerate();
    let layers: Vec<(usize, Vec<Way>)> =
        steps.filter_map(|(index, step)| Some((index, Layer::of(&program, step)?.ways(packing)?))).collect();
    let (steps, ways): (Vec<usize>, Vec<Vec<Way>>) = layers.into_iter().unzip();
    let with = |chosen: &[usize]| {
        let chosen = ways.iter().zip(chosen).map(|(ways, &index)| &ways[index]);
        packed(program.clone(), &steps.iter().copied().zip(chosen).collect())
    };
    with(&match prefer {
        Prefer::Speed => choose::fastest(&ways, costs),
        Prefer::Ram => choose::least_memory(&ways, with)?,
        Prefer::Flash => choose::shortest(&ways, costs),
    })
}

/// The fastest of each layer's ways, by its index.
pub(super) fn fastest(layers: &[Vec<Way>], packing: Packing) -> Vec<usize> {
    Costs::of(packing).map_or_else(|| vec![0; layers.len()], |costs| choose::fastest(layers, costs))
}

/// The program with these ways of its steps, by their number among those of all entries.
fn packed(mut program: Program, ways: &HashMap<usize, &Way>) -> Result<Program, CompileError> {
    let mut entries = std::mem::take(&mut program.entries);
    // A layer that stands in several entries has one stream.
    let mut streams: HashMap<(Operator, BufferId, BufferId), BufferId> = HashMap::new();
    for (index, step) in entries.iter_mut().flat_map(|entry| &mut entry.steps).enumerate() {
        let Some(packed) = ways.get(&index).and_then(|way| way.packed.as_ref()) else { continue };
        let [input, filter, channels] = *step.reads else { continue };
        let stream = match streams.entry((packed.operator, filter, channels)) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => *entry.insert(program.add(Buffer {
                name: format!("{}/stream", step.name),
                space: Space::Constant,
                role: Role::Constant,
                value: Some(Value::I32(packed.stream.clone())),
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
pub(crate) struct Packed {
    pub(crate) operator: Operator,
    pub(crate) stream: Vec<i32>,
    pub(crate) stream_shape: Shape,
    /// Memory that its kernel works in, if it needs any.
    pub(crate) scratch: Option<(Shape, ElementType)>,
}

/// A way in which a layer can be computed, and what it costs.
pub(crate) struct Way {
    pub(crate) operator: Operator,
    /// As predicted.
    pub(super) instructions: f64,
    /// Bytes of constants.
    pub(super) bytes: usize,
    /// What becomes of the step; `None` where it stays as it is.
    pub(crate) packed: Option<Packed>,
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
pub(crate) struct Layer<'p> {
    pub(crate) operator: Operator,
    pub(crate) attributes: &'p [i32],
    /// Shape and zero point.
    pub(crate) input: (Shape, i32),
    pub(crate) output: (Shape, i32),
    pub(crate) filter: &'p [i8],
    /// The records of the channels.
    pub(crate) channels: &'p [i32],
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

    /// All ways in which processors of `packing` can compute the layer, as it is first; `None` if it has no weights.
    pub(crate) fn ways(&self, packing: Packing) -> Option<Vec<Way>> {
        let costs = Costs::of(packing)?;
        let plain = Way {
            operator: self.operator,
            instructions: costs.instructions(self.operator, &self.terms(self.operator)?)?,
            bytes: self.filter.len() + 4 * self.channels.len(),
            packed: None,
        };
        let packed = self.layouts().into_iter().filter_map(|packed| {
            let operator = packed.operator;
            let instructions = costs.instructions(operator, &self.terms(operator)?)?;
            Some(Way { operator, instructions, bytes: 4 * packed.stream.len(), packed: Some(packed) })
        });
        Some([plain].into_iter().chain(packed).collect())
    }

    /// The layer in all layouts that can hold it.
    pub(crate) fn layouts(&self) -> Vec<Packed> {
        [dsp::layouts(self), single::layouts(self), vectors::layouts(self)].into_iter().flatten().collect()
    }

    /// What the instructions are the sum of in the way of `operator`.
    fn terms(&self, operator: Operator) -> Option<Terms> {
        let weights = self.filter.len().checked_div(self.channels().len())?;
        let tensors = [self.input.0, self.output.0];
        LayerShape { operator, attributes: self.attributes, tensors, weights }.terms()
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
