//! Valid model files to start from: small ones, that together use every operator.

use smidgen::model::MemoryLengths;
use smidgen::ops::Operator;
use smidgen::{ElementType, EntryKind, Operand, Preprocessing, Quantization, Schedule, Shape, Space, Step};

use super::{OwnedEntry, Parts};

/// Builds a model step by step, laying its operands out one after another.
#[derive(Debug)]
pub struct Builder {
    parts: Parts,
    entry_start: u32,
}

impl Builder {
    /// A model without steps.
    pub fn new(name: &str) -> Self {
        let parts = Parts {
            name: name.to_owned(),
            preprocessing: Preprocessing::None,
            entries: Vec::new(),
            steps: Vec::new(),
            memory: MemoryLengths::default(),
            weights: Vec::new(),
            initial_parameters: None,
            initial_state: None,
        };
        Self { parts, entry_start: 0 }
    }

    /// A new operand in a space other than the constants.
    ///
    /// # Panics
    /// For [`Space::Constant`].
    pub fn operand(&mut self, space: Space, element_type: ElementType, shape: [u32; 4]) -> Operand {
        let memory = &mut self.parts.memory;
        let length = match space {
            Space::Constant => panic!("constants have values"),
            Space::Parameter => &mut memory.parameter,
            Space::State => &mut memory.state,
            Space::Gradient => &mut memory.gradient,
            Space::Chunk => &mut memory.chunk,
            Space::Arena => &mut memory.arena,
        };
        let operand =
            Operand { space, element_type, offset: *length, shape: Shape(shape), quantization: None };
        *length += (operand.bytes().unwrap() as u32).next_multiple_of(16);
        operand
    }

    /// A new f32 operand.
    pub fn f32(&mut self, space: Space, shape: [u32; 4]) -> Operand {
        self.operand(space, ElementType::F32, shape)
    }

    /// A new int8 operand in the arena, with a quantization.
    pub fn i8(&mut self, shape: [u32; 4], scale: f32, zero_point: i32) -> Operand {
        let quantization = Some(Quantization { scale, zero_point });
        Operand { quantization, ..self.operand(Space::Arena, ElementType::I8, shape) }
    }

    fn constant(&mut self, element_type: ElementType, shape: [u32; 4], bytes: &[u8]) -> Operand {
        let offset = self.parts.weights.len().next_multiple_of(4);
        self.parts.weights.resize(offset, 0);
        self.parts.weights.extend(bytes);
        let operand = Operand {
            space: Space::Constant,
            element_type,
            offset: offset as u32,
            shape: Shape(shape),
            quantization: None,
        };
        assert_eq!(operand.bytes(), Some(bytes.len()));
        operand
    }

    /// A new f32 constant with small values.
    pub fn constant_f32(&mut self, shape: [u32; 4]) -> Operand {
        let count = Shape(shape).elements().unwrap();
        let bytes: Vec<u8> = (0..count).flat_map(|i| (i as f32 * 0.25 - 1.0).to_le_bytes()).collect();
        self.constant(ElementType::F32, shape, &bytes)
    }

    /// A new int8 constant with small values.
    pub fn constant_i8(&mut self, shape: [u32; 4]) -> Operand {
        let count = Shape(shape).elements().unwrap();
        let bytes: Vec<u8> = (0..count).map(|i| (i * 37 % 200) as u8).collect();
        self.constant(ElementType::I8, shape, &bytes)
    }

    /// Records of `count` int8 output channels.
    pub fn channels(&mut self, count: u32) -> Operand {
        let records = (0..count as i32).flat_map(|c| [c * 100 - 50, 0x5000_0000, -7]);
        let bytes: Vec<u8> = records.flat_map(i32::to_le_bytes).collect();
        self.constant(ElementType::I32, [1, 1, count, 3], &bytes)
    }

    /// A new step that runs once for each chunk.
    pub fn step(&mut self, operator: Operator, attributes: &[i32], reads: &[Operand], writes: &[Operand]) {
        self.scheduled(operator, Schedule::PerChunk, attributes, reads, writes);
    }

    /// A new step that runs once for the batch.
    pub fn once(&mut self, operator: Operator, attributes: &[i32], reads: &[Operand], writes: &[Operand]) {
        self.scheduled(operator, Schedule::Once, attributes, reads, writes);
    }

    fn scheduled(
        &mut self,
        operator: Operator,
        schedule: Schedule,
        attributes: &[i32],
        reads: &[Operand],
        writes: &[Operand],
    ) {
        self.parts.steps.push(Step {
            operator: operator as u8,
            schedule,
            attributes: heapless::Vec::from_slice(attributes).unwrap(),
            reads: heapless::Vec::from_slice(reads).unwrap(),
            writes: heapless::Vec::from_slice(writes).unwrap(),
        });
    }

    /// Makes an entry of all steps since the last one.
    pub fn entry(&mut self, kind: EntryKind, inputs: &[Operand], outputs: &[Operand]) {
        let end = self.parts.steps.len() as u32;
        self.parts.entries.push(OwnedEntry {
            kind,
            first_step: self.entry_start,
            step_count: end - self.entry_start,
            inputs: inputs.to_vec(),
            outputs: outputs.to_vec(),
        });
        self.entry_start = end;
    }

    /// The model, with initial values for its parameters and its state.
    pub fn finish(mut self) -> Parts {
        for (length, is_state) in [(self.parts.memory.parameter, false), (self.parts.memory.state, true)] {
            if length > 0 {
                let values: Vec<u8> =
                    (0..length / 4).flat_map(|i| (i as f32 * 0.125 - 0.5).to_le_bytes()).collect();
                let offset = self.constant(ElementType::F32, [1, 1, 1, length / 4], &values).offset;
                let place =
                    if is_state { &mut self.parts.initial_state } else { &mut self.parts.initial_parameters };
                *place = Some(offset);
            }
        }
        self.parts
    }
}

/// Attributes of a 3×3 window with the given stride and padding.
fn window(stride: i32, padding: i32) -> [i32; 10] {
    [3, 3, stride, stride, padding, padding, padding, padding, 1, 1]
}

/// A model of two steps, `relu(input + constant + constant)`.
pub fn sum() -> Parts {
    let mut b = Builder::new("sum");
    let (input, output) = (b.f32(Space::Arena, [1, 1, 1, 4]), b.f32(Space::Arena, [1, 1, 1, 4]));
    let constant = b.constant_f32([1, 1, 1, 4]);
    b.step(Operator::AddF32, &[0, 0], &[input, constant], &[input]);
    b.step(Operator::AddF32, &[1, 0], &[input, constant], &[output]);
    b.entry(EntryKind::Infer, &[input], &[output]);
    b.finish()
}

/// A model with every int8 operator.
pub fn int8() -> Parts {
    let mut b = Builder::new("int8");
    let clamp = [-128, 127];
    let input = b.f32(Space::Arena, [1, 5, 4, 2]);
    let quantized = b.i8([1, 5, 4, 2], 0.05, 3);
    b.step(Operator::Quantize, &[], &[input], &[quantized]);
    let conv = b.i8([1, 5, 4, 5], 0.1, -4);
    let (filter, channels) = (b.constant_i8([5, 3, 3, 2]), b.channels(5));
    let attributes = [window(1, 1).as_slice(), &clamp].concat();
    b.step(Operator::Conv2dI8, &attributes, &[quantized, filter, channels], &[conv]);
    let depthwise = b.i8([1, 3, 2, 5], 0.1, 7);
    let (filter, channels) = (b.constant_i8([1, 3, 3, 5]), b.channels(5));
    let attributes = [window(2, 1).as_slice(), &clamp].concat();
    b.step(Operator::DepthwiseConv2dI8, &attributes, &[conv, filter, channels], &[depthwise]);
    let pooled = b.i8([1, 3, 2, 5], 0.1, 7);
    let attributes = [window(1, 1).as_slice(), &clamp].concat();
    b.step(Operator::MaxPool2dI8, &attributes, &[depthwise], &[pooled]);
    let average = b.i8([1, 1, 1, 5], 0.1, 7);
    let attributes = [[3, 2, 1, 1, 0, 0, 0, 0, 1, 1].as_slice(), &clamp].concat();
    b.step(Operator::AveragePool2dI8, &attributes, &[pooled], &[average]);
    let logits = b.i8([1, 1, 1, 6], 0.2, 0);
    let (weights, channels) = (b.constant_i8([6, 1, 1, 5]), b.channels(6));
    b.step(Operator::FullyConnectedI8, &clamp, &[average, weights, channels], &[logits]);
    let output = b.f32(Space::Arena, [1, 1, 1, 6]);
    b.step(Operator::Dequantize, &[], &[logits], &[output]);
    b.entry(EntryKind::Infer, &[input], &[output]);
    b.finish()
}

/// A model with every f32 operator, in entries to infer, train and update.
pub fn f32() -> Parts {
    let mut b = Builder::new("f32");
    let leaky = [3, 0.25f32.to_bits() as i32];
    let input = b.f32(Space::Arena, [1, 3, 2, 4]);
    let other = b.f32(Space::Chunk, [1, 3, 2, 4]);
    b.step(Operator::ActivationF32, &leaky, &[input], &[other]);
    b.step(Operator::AddF32, &[2, 0], &[other, input], &[input]);
    b.entry(EntryKind::Infer, &[input], &[input]);
    let grad = b.f32(Space::Arena, [1, 3, 2, 4]);
    b.step(Operator::ActivationGrad, &leaky, &[other, grad], &[grad]);
    b.entry(EntryKind::Train, &[grad], &[grad]);
    b.finish()
}

/// All samples.
pub fn all() -> Vec<Parts> {
    vec![sum(), int8(), f32()]
}
