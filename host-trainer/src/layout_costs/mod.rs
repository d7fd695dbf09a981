//! What layers cost in each layout of their weights: measured in QEMU, for the table that [`pack_weights`](crate::compile::pack_weights()) chooses by.
//!
//! A set of small layers is computed in every way in which a processor can, each way a step of one model, and the instructions of each step are counted. From them the coefficients of the
//! [`TERMS`](crate::compile::TERMS) are fitted, so that the squares of the relative errors are least. `docs/layout-costs.md` has the method and the errors.

mod code;
mod fit;
mod layers;

use smidgen::geometry::{WINDOW_ATTRIBUTES, Window};
use smidgen::model::{MemoryLengths, Metadata, ModelParts, NewEntry, Preprocessing};
use smidgen::ops::int8::Channel;
use smidgen::quantization::Multiplier;
use smidgen::{
    AllOperators, ElementType, EntryKind, Model, NewStep, Operand, Operator, Quantization, Schedule, Shape,
    Space, Step,
};

pub use self::code::code;
pub use self::fit::fit;
pub use self::layers::{Example, examples};
use crate::buffer::AlignedBytes;
use crate::compile::{Costs, Layer, LayerShape, Packing, Terms, write};
use crate::device::{Device, DeviceError, Target};
use crate::support::fast_kernels;

/// The processor on which the costs of a packing are counted. The others that it is for have the same kernels.
pub const fn measured_on(packing: Packing) -> Target {
    match packing {
        Packing::Plain => Target::Host,
        Packing::Armv6m => Target::CortexM0,
        Packing::Armv7m => Target::CortexM3,
        Packing::Dsp => Target::CortexM4,
        Packing::Helium => Target::CortexM55,
    }
}

/// The operators of layers that these processors compute: the plain ones, and the packed ones that they have kernels for.
pub fn layouts(packing: Packing) -> Vec<Operator> {
    let instructions = match packing {
        Packing::Plain => "",
        Packing::Armv6m => "Armv6-M",
        Packing::Armv7m => "Armv7-M",
        Packing::Dsp => "Armv7E-M",
        Packing::Helium => "Helium",
    };
    let plain = [Operator::Conv2dI8, Operator::FullyConnectedI8, Operator::DepthwiseConv2dI8];
    let packed = Operator::ALL.iter().copied().filter(|operator| operator.is_packed());
    plain.into_iter().chain(packed.filter(|&packed| fast_kernels(packed).contains(&instructions))).collect()
}

/// A layer in one way, and what it took.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Which layer it was.
    pub name: String,
    /// The way.
    pub operator: Operator,
    /// What its instructions are the sum of.
    pub terms: Terms,
    /// How many it took.
    pub instructions: f64,
}

impl Sample {
    /// What `costs` say that it takes.
    pub fn predicted(&self, costs: &Costs) -> Option<f64> {
        costs.instructions(self.operator, &self.terms)
    }
}

/// Counts the instructions of layers in each way that processors of `packing` have a kernel for.
///
/// # Errors
/// See [`DeviceError`].
pub fn measure(packing: Packing, layers: &[Example]) -> Result<Vec<Sample>, DeviceError> {
    let (file, samples) = probe(packing, layers, |_| true);
    let counted = samples.into_iter().zip(counts(packing, &file)?);
    Ok(counted.map(|(sample, instructions)| Sample { instructions, ..sample }).collect())
}

/// The layers of a model that is packed for these processors, and what each takes.
///
/// # Errors
/// See [`DeviceError`]. A file that is no model is refused by the device.
pub fn measure_model(packing: Packing, file: &[u8]) -> Result<Vec<Sample>, DeviceError> {
    let counts = counts(packing, file)?;
    let aligned = AlignedBytes::copy_of(file);
    let Some((model, entry)) = Model::<AllOperators>::from_bytes(aligned.as_slice())
        .ok()
        .and_then(|model| Some((model, model.entry(EntryKind::Infer)?)))
    else {
        return Ok(Vec::new());
    };
    let steps = model.steps(&entry).flatten().zip(counts).enumerate();
    let samples = steps.filter_map(|(index, (step, instructions))| {
        Some(Sample { instructions, ..sample_of(&step, format!("step {index}"))? })
    });
    Ok(samples.collect())
}

/// A step as a sample that is not counted; `None` if it is no layer with weights.
fn sample_of(step: &Step<'_>, name: String) -> Option<Sample> {
    let (operator, input, output) =
        (Operator::from_code(step.operator)?, step.reads.first()?, step.writes.first()?);
    let tensors = [input.shape, output.shape];
    let [[.., in_c], [.., out_c]] = tensors.map(Shape::dims);
    let taps = || Window::read(step.attributes).ok().map(|(Window { y, x }, _)| y.kernel * x.kernel);
    let weights = match (operator.is_packed(), operator.name()) {
        (_, name) if name.starts_with("depthwise") => taps()?,
        (_, name) if name.starts_with("fully_connected") => in_c,
        (true, _) => taps()? * in_c,
        (false, _) => step.reads.get(1)?.shape.elements()?.checked_div(out_c)?,
    };
    let terms = LayerShape { operator, attributes: step.attributes, tensors, weights }.terms()?;
    Some(Sample { name, operator, terms, instructions: 0.0 })
}

/// The instructions of each step of a model's inference.
fn counts(packing: Packing, file: &[u8]) -> Result<Vec<f64>, DeviceError> {
    let aligned = AlignedBytes::copy_of(file);
    let inputs = Model::<AllOperators>::from_bytes(aligned.as_slice())
        .ok()
        .and_then(|model| model.entry(EntryKind::Infer))
        .map_or(0, |entry| entry.inputs.iter().filter_map(Operand::bytes).sum());
    let report = Device::new(measured_on(packing)).run(file, &vec![0; inputs])?;
    Ok(report.steps.iter().map(|step| step.instructions.unwrap_or(0) as f64).collect())
}

/// A model with a step for each layer in each way that is wanted, and these steps.
fn probe(
    packing: Packing,
    examples: &[Example],
    is_wanted: impl Fn(Operator) -> bool,
) -> (Vec<u8>, Vec<Sample>) {
    let made_for: Vec<Operator> = layouts(packing).into_iter().filter(|&way| is_wanted(way)).collect();
    let mut parts = Parts::default();
    let mut samples = Vec::new();
    for example in examples {
        let (filter, channels) = (example.filter(), example.channels());
        let tensors = [example.input(), example.output()];
        let attributes = example.attributes();
        let [input, output] = tensors.map(|shape| (shape, QUANTIZATION.zero_point));
        let operator = example.operator();
        let layer =
            Layer { operator, attributes: &attributes, input, output, filter: &filter, channels: &channels };
        let plain = [
            (bytemuck::cast_slice(&filter), example.filter_shape(), ElementType::I8),
            (bytemuck::cast_slice(&channels), Shape([1, 1, output.0.0[3], 3]), ElementType::I32),
        ];
        let mut push = |operator: Operator, constants: &[(&[u8], Shape, ElementType)], scratch| {
            if !made_for.contains(&operator) {
                return;
            }
            let step = parts.push(operator, &attributes, tensors, constants, scratch);
            samples.extend(sample_of(&step.step(), example.name()));
        };
        push(operator, &plain, None);
        for packed in layer.layouts() {
            let stream = (bytemuck::cast_slice(&packed.stream), packed.stream_shape, ElementType::I32);
            push(packed.operator, &[stream], packed.scratch);
        }
    }
    (parts.file(), samples)
}

/// A model whose steps all read the same place and write to the same.
#[derive(Default)]
struct Parts {
    steps: Vec<NewStep>,
    weights: Vec<u8>,
}

/// Of all activations: those behind a ReLU, as most are.
const QUANTIZATION: Quantization = Quantization { scale: 0.05, zero_point: i8::MIN as i32 };

fn place(
    space: Space,
    offset: u32,
    (shape, element_type): (Shape, ElementType),
    quantization: Quantization,
) -> Operand {
    Operand { space, element_type, offset, shape, quantization }
}

/// Where all outputs and all scratch begin, and where the arena ends.
const OUTPUT: u32 = 64 << 10;
const SCRATCH: u32 = 2 * OUTPUT;
const END: u32 = 3 * OUTPUT;

impl Parts {
    fn push(
        &mut self,
        operator: Operator,
        attributes: &[i32],
        [input, output]: [Shape; 2],
        constants: &[(&[u8], Shape, ElementType)],
        scratch: Option<(Shape, ElementType)>,
    ) -> &NewStep {
        let tensor = |offset, shape| place(Space::Arena, offset, (shape, ElementType::I8), QUANTIZATION);
        let mut reads = vec![tensor(0, input)];
        for &(bytes, shape, kind) in constants {
            let offset = self.weights.len() as u32;
            reads.push(place(Space::Constant, offset, (shape, kind), Quantization::NONE));
            self.weights.extend_from_slice(bytes);
            self.weights.resize(self.weights.len().next_multiple_of(smidgen::model::ALIGNMENT), 0);
        }
        let scratch = scratch.map(|like| place(Space::Arena, SCRATCH, like, Quantization::NONE));
        self.steps.push(NewStep {
            operator: operator as u8,
            schedule: Schedule::PerChunk,
            attributes: attributes.iter().copied().collect(),
            reads: reads.into_iter().collect(),
            writes: [tensor(OUTPUT, output)].into_iter().chain(scratch).collect(),
        });
        &self.steps[self.steps.len() - 1]
    }

    fn file(&self) -> Vec<u8> {
        let all = |offset| place(Space::Arena, offset, (Shape::vector(16), ElementType::I8), QUANTIZATION);
        let entry = NewEntry {
            kind: EntryKind::Infer,
            first_step: 0,
            step_count: self.steps.len() as u32,
            inputs: &[all(0)],
            outputs: &[all(OUTPUT)],
        };
        let metadata = Metadata {
            name: "layers",
            labels: "",
            step_names: "",
            provenance: "",
            preprocessing: Preprocessing::None,
        };
        let parts = ModelParts {
            metadata,
            entries: &[entry],
            steps: &self.steps,
            memory: MemoryLengths { arena: END, ..MemoryLengths::default() },
            weights: &self.weights,
            initial_parameters: None,
            initial_state: None,
        };
        write(&parts).expect("a few small layers make a small model")
    }
}
