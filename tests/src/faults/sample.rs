//! Valid model files to start from: small ones, that together use every operator.

use smidgen::kernels::int8::{double_pairs, pairs, quads};
use smidgen::model::MemoryLengths;
use smidgen::ops::Operator;
use smidgen::ops::log_softmax::{self, int8::LogSoftmaxI8};
use smidgen::ops::softmax::{self, int8::SoftmaxI8};
use smidgen::{
    ElementType, EntryKind, NewStep, Operand, Preprocessing, Quantization, Schedule, Shape, Space,
};

use super::single::packed_single;
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
        let operand = Operand {
            space,
            element_type,
            offset: *length,
            shape: Shape(shape),
            quantization: Quantization::NONE,
        };
        *length += (operand.bytes().unwrap() as u32).next_multiple_of(16);
        operand
    }

    /// A new f32 operand.
    pub fn f32(&mut self, space: Space, shape: [u32; 4]) -> Operand {
        self.operand(space, ElementType::F32, shape)
    }

    /// A new int8 operand in the arena, with a quantization.
    pub fn i8(&mut self, shape: [u32; 4], scale: f32, zero_point: i32) -> Operand {
        let quantization = Quantization { scale, zero_point };
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
            quantization: Quantization::NONE,
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

    /// A table of indices.
    pub fn table(&mut self, indices: &[i32]) -> Operand {
        let bytes: Vec<u8> = indices.iter().flat_map(|index| index.to_le_bytes()).collect();
        self.constant(ElementType::I32, [1, 1, 1, indices.len() as u32], &bytes)
    }

    /// Records of `count` int8 output channels.
    pub fn channels(&mut self, count: u32) -> Operand {
        let records = (0..count as i32).flat_map(|c| [c * 100 - 50, 0x5000_0000, -7]);
        let bytes: Vec<u8> = records.flat_map(i32::to_le_bytes).collect();
        self.constant(ElementType::I32, [1, 1, count, 3], &bytes)
    }

    /// A new i32 constant.
    pub fn constant_i32(&mut self, shape: [u32; 4], values: &[i32]) -> Operand {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(ElementType::I32, shape, &bytes)
    }

    /// Words that no compiler wrote.
    pub fn stream(&mut self, shape: [u32; 4]) -> Operand {
        let count = Shape(shape).elements().unwrap() as u32;
        let bytes: Vec<u8> = (0..count).flat_map(|i| i.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
        self.constant(ElementType::I32, shape, &bytes)
    }

    /// Scratch of `count` i32.
    pub fn words(&mut self, count: u32) -> Operand {
        self.operand(Space::Arena, ElementType::I32, [1, 1, 1, count])
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
        self.parts.steps.push(NewStep {
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
pub(super) fn window(stride: i32, padding: i32) -> [i32; 10] {
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

/// A model with every int8 operator of which no weights are packed.
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
    let table = b.constant_i8([1, 1, 1, 256]);
    b.step(Operator::LookupI8, &[], &[pooled, table], &[pooled]);
    let factor = 0x5000_0000;
    let attributes = [20, factor, 0, factor, -1, factor, -19, -128, 127];
    b.step(Operator::AddI8, &attributes, &[pooled, depthwise], &[depthwise]);
    let side = b.constant_i8([1, 1, 1, 5]);
    let side = Operand { quantization: Quantization { scale: 0.02, zero_point: 1 }, ..side };
    b.step(Operator::SubI8, &attributes, &[side, depthwise], &[depthwise]);
    b.step(Operator::MulI8, &[factor, -4, -120, 120], &[depthwise, side], &[depthwise]);
    b.step(Operator::MaximumI8, &[], &[depthwise, pooled], &[depthwise]);
    b.step(Operator::MinimumI8, &[], &[depthwise, side], &[depthwise]);
    b.step(Operator::PreluI8, &[factor, 0, factor, -5], &[depthwise, side], &[depthwise]);
    b.step(
        Operator::WeightedSumI8,
        &[1 << 20, -(1 << 19), 77, 20, -128, 127],
        &[depthwise, pooled],
        &[depthwise],
    );
    let average = b.i8([1, 1, 1, 5], 0.1, 7);
    let attributes = [[3, 2, 1, 1, 0, 0, 0, 0, 1, 1].as_slice(), &clamp].concat();
    b.step(Operator::AveragePool2dI8, &attributes, &[depthwise], &[average]);
    let sums = b.operand(Space::Arena, ElementType::I32, [1, 1, 1, 5]);
    b.step(Operator::MeanBandI8, &[], &[depthwise], &[sums]);
    b.step(Operator::MeanBandI8, &[12, -128, 127], &[depthwise, sums], &[average]);
    let logits = b.i8([1, 1, 1, 6], 0.2, 0);
    let (weights, channels) = (b.constant_i8([6, 1, 1, 5]), b.channels(6));
    b.step(Operator::FullyConnectedI8, &clamp, &[average, weights, channels], &[logits]);
    let probabilities = b.i8([1, 1, 1, 6], softmax::int8::OUTPUT.scale, softmax::int8::OUTPUT.zero_point);
    let attributes = SoftmaxI8::new(0.2).unwrap().attributes();
    b.step(Operator::SoftmaxI8, &attributes, &[logits], &[probabilities]);
    let output = b.f32(Space::Arena, [1, 1, 1, 6]);
    b.step(Operator::Dequantize, &[], &[probabilities], &[output]);
    b.entry(EntryKind::Infer, &[input], &[output]);
    b.finish()
}

/// A model with the int8 operators whose weights are packed.
pub fn packed() -> Parts {
    let mut b = Builder::new("packed");
    let clamp = [-120, 120];
    let input = b.i8([1, 5, 4, 2], 0.05, 3);
    let conv = b.i8([1, 5, 4, 4], 0.1, -128);
    let stream = b.stream([1, 1, 2, pairs::pair_words(18) as u32]);
    let scratch = b.words(pairs::scratch_words(18, false) as u32);
    let attributes = [window(1, 1).as_slice(), &clamp].concat();
    b.step(Operator::Conv2dPairsI8, &attributes, &[input, stream], &[conv, scratch]);
    let stream = b.stream([1, 1, 1, quads::QUAD_WORDS as u32]);
    let scratch = b.operand(Space::Arena, ElementType::I8, [1, 1, 1, 3 * 6 * 4]);
    b.step(Operator::DepthwiseConv2dQuadsI8, &attributes, &[conv, stream], &[conv, scratch]);
    let stream = b.stream([1, 1, 2, pairs::pair_words(4) as u32]);
    let scratch = b.words(pairs::scratch_words(4, true) as u32);
    let attributes = [[1, 1, 1, 1, 0, 0, 0, 0, 1, 1].as_slice(), &clamp].concat();
    b.step(Operator::Conv2dPairsI8, &attributes, &[conv, stream], &[conv, scratch]);
    let flat = b.i8([1, 1, 1, 80], 0.1, -128);
    b.step(Operator::Reshape, &[], &[conv], &[flat]);
    let output = b.i8([1, 1, 1, 3], 0.1, 5);
    let stream = b.stream([1, 1, 2, pairs::pair_words(80) as u32]);
    let scratch = b.words(pairs::row_words(80) as u32);
    b.step(Operator::FullyConnectedPairsI8, &clamp, &[flat, stream], &[output, scratch]);
    let last = b.i8([1, 1, 1, 5], 0.1, -128);
    let stream = b.stream([1, 1, 2, double_pairs::double_words(3) as u32]);
    let scratch = b.words(double_pairs::row_words(3) as u32);
    b.step(Operator::FullyConnectedDoublePairsI8, &clamp, &[output, stream], &[last, scratch]);
    b.entry(EntryKind::Infer, &[input], &[last]);
    b.finish()
}

/// A model with the f32 operators of inference.
pub fn f32() -> Parts {
    let mut b = Builder::new("f32");
    let (none, relu6, leaky) = ([0, 0], [2, 0], [3, bits(0.25)]);
    let input = b.f32(Space::Arena, [1, 3, 3, 2]);
    let conv = b.f32(Space::Arena, [1, 3, 3, 3]);
    let (filter, bias) = (b.constant_f32([3, 3, 2, 3]), b.constant_f32([1, 1, 1, 3]));
    let attributes = [window(1, 1).as_slice(), &none].concat();
    b.step(Operator::Conv2d, &attributes, &[input, filter, bias], &[conv]);
    let (parameters, running) = (b.constant_f32([1, 1, 2, 3]), b.constant_f32([1, 1, 2, 3]));
    let attributes = [bits(1e-3), leaky[0], leaky[1]];
    b.step(Operator::BatchNorm, &attributes, &[conv, parameters, running], &[conv]);
    let depthwise = b.f32(Space::Arena, [1, 2, 2, 3]);
    let filter = b.constant_f32([1, 3, 3, 3]);
    let attributes = [window(2, 1).as_slice(), &relu6].concat();
    b.step(Operator::DepthwiseConv2d, &attributes, &[conv, filter], &[depthwise]);
    let pooled = b.f32(Space::Chunk, [1, 2, 2, 3]);
    b.step(Operator::MaxPool2d, &window(1, 1), &[depthwise], &[pooled]);
    b.step(Operator::ActivationF32, &leaky, &[depthwise], &[depthwise]);
    b.step(Operator::AddF32, &relu6, &[pooled, depthwise], &[depthwise]);
    let (side, row) = (b.constant_f32([1, 1, 1, 3]), b.constant_f32([1, 2, 1, 1]));
    b.step(Operator::SubF32, &none, &[depthwise, side], &[depthwise]);
    b.step(Operator::MulF32, &none, &[row, depthwise], &[depthwise]);
    b.step(Operator::MaximumF32, &[4, 0], &[depthwise, pooled], &[depthwise]);
    b.step(Operator::MinimumF32, &none, &[depthwise, row], &[depthwise]);
    b.step(Operator::Prelu, &[], &[depthwise, side], &[depthwise]);
    b.step(Operator::Function, &[0], &[depthwise], &[depthwise]);
    let [counts, total] = [(); 2].map(|()| b.operand(Space::Arena, ElementType::I32, [1, 1, 1, 3]));
    b.step(Operator::IntegerArithmetic, &[2], &[counts, counts], &[total]);
    let real = b.f32(Space::Arena, [1, 1, 1, 3]);
    b.step(Operator::Cast, &[], &[total], &[real]);
    let average = b.f32(Space::Arena, [1, 1, 2, 3]);
    b.step(Operator::AveragePool2d, &[2, 1, 1, 1, 0, 0, 0, 0, 1, 1], &[depthwise], &[average]);
    let flat = b.f32(Space::Arena, [1, 1, 1, 6]);
    b.step(Operator::Reshape, &[], &[average], &[flat]);
    let output = b.f32(Space::Arena, [1, 1, 1, 4]);
    let (weights, bias) = (b.constant_f32([1, 1, 6, 4]), b.constant_f32([1, 1, 1, 4]));
    b.step(Operator::FullyConnected, &none, &[flat, weights, bias], &[output]);
    b.step(Operator::Softmax, &[], &[output], &[output]);
    b.entry(EntryKind::Infer, &[input], &[output]);
    b.finish()
}

/// A model with the operators of training: gradients, losses and updates.
pub fn training() -> Parts {
    let mut b = Builder::new("training");
    let relu = [1, 0];
    let input = b.f32(Space::Chunk, [2, 2, 2, 2]);
    let grad = b.f32(Space::Arena, [2, 2, 2, 2]);
    let other = b.f32(Space::Arena, [2, 2, 2, 2]);
    let filter = b.f32(Space::Parameter, [3, 3, 2, 2]);
    let depthwise = b.f32(Space::Parameter, [1, 3, 3, 2]);
    let (grad_filter, grad_depthwise) =
        (b.f32(Space::Chunk, [3, 3, 2, 2]), b.f32(Space::Chunk, [1, 3, 3, 2]));
    let same = window(1, 1);

    // Batch norm, forward.
    let parameters = b.f32(Space::Parameter, [1, 1, 2, 2]);
    let [moments, running, sums] = [(); 3].map(|()| b.f32(Space::State, [1, 1, 2, 2]));
    let partial = b.f32(Space::Chunk, [1, 1, 2, 2]);
    b.step(Operator::BatchNormStatistics, &[], &[input], &[partial]);
    b.once(Operator::BatchNormReduce, &[bits(1e-3), bits(0.1), 8], &[partial], &[moments, running]);
    b.step(Operator::BatchNormNormalize, &relu, &[input, moments, parameters], &[other]);

    // The loss.
    let (logits, weights) = (b.f32(Space::Arena, [2, 1, 1, 3]), b.f32(Space::Parameter, [1, 1, 8, 3]));
    let (labels, loss) =
        (b.operand(Space::Arena, ElementType::I32, [2, 1, 1, 1]), b.f32(Space::Chunk, [1, 1, 1, 2]));
    let [grad_logits, grad_scores] = [(); 2].map(|()| b.f32(Space::Arena, [2, 1, 1, 3]));
    let attributes = [bits(0.1), bits(0.25)];
    b.step(Operator::SoftmaxCrossEntropy, &attributes, &[logits, labels], &[loss, grad_logits]);
    b.step(Operator::MeanSquaredError, &[bits(0.25)], &[logits, grad_logits], &[loss, grad_scores]);
    b.step(Operator::SoftmaxGrad, &[], &[logits, grad_scores], &[grad_scores]);
    let class_weights = b.constant_f32([1, 1, 1, 3]);
    for (operator, first) in [(Operator::WeightedCrossEntropy, 0.1), (Operator::Focal, 2.0)] {
        let reads = [logits, labels, class_weights];
        b.step(operator, &[bits(first), bits(0.25)], &reads, &[loss, grad_logits]);
    }
    let dense = [logits, grad_scores];
    b.step(Operator::Huber, &[bits(1.0), bits(0.25), 1], &dense, &[loss, grad_logits]);
    b.step(Operator::BinaryCrossEntropy, &[bits(0.25)], &dense, &[loss, grad_logits]);
    b.step(Operator::SoftCrossEntropy, &attributes, &dense, &[loss, grad_logits]);
    b.step(Operator::Dice, &[bits(1.0), bits(0.25)], &dense, &[loss, grad_logits]);
    let both = b.f32(Space::Arena, [2, 1, 2, 3]);
    let mixed = [bits(2.0), bits(0.5), bits(0.1), bits(0.25)];
    b.step(Operator::Distillation, &mixed, &[logits, both], &[loss, grad_logits]);
    let keys = b.operand(Space::Arena, ElementType::I32, [2, 1, 1, 2]);
    b.step(Operator::Dropout, &[bits(0.25), 1], &[grad_scores, keys], &[grad_scores]);

    // Gradients.
    let flat = Operand { shape: Shape([2, 1, 1, 8]), ..other };
    let (grad_weights, grad_bias) = (b.f32(Space::Chunk, [1, 1, 8, 3]), b.f32(Space::Chunk, [1, 1, 1, 3]));
    b.step(Operator::FullyConnectedGradWeights, &[], &[flat, grad_logits], &[grad_weights]);
    b.step(Operator::FullyConnectedGradInput, &[], &[grad_logits, weights], &[flat]);
    b.step(Operator::GradBias, &[], &[grad_logits], &[grad_bias]);
    b.step(Operator::MaxPool2dGrad, &same, &[input, other], &[grad]);
    let Shape(shape) = other.shape;
    let index = b.operand(Space::Arena, ElementType::U8, shape);
    let pooled = b.f32(Space::Arena, shape);
    b.step(Operator::MaxPool2d, &same, &[input], &[pooled, index]);
    b.step(Operator::MaxPool2dGrad, &same, &[index, pooled], &[grad]);
    b.step(Operator::AveragePool2dGrad, &same, &[grad], &[other]);
    b.step(Operator::ActivationGrad, &relu, &[input, other], &[other]);
    let side = b.f32(Space::Parameter, [1, 1, 1, 2]);
    let grad_side = b.f32(Space::Chunk, [1, 1, 1, 2]);
    b.step(Operator::BroadcastGrad, &[bits(-1.0)], &[other], &[grad_side]);
    b.step(Operator::MulGrad, &[], &[other, input], &[grad_side]);
    b.step(Operator::MaximumGrad, &[0], &[input, side, other], &[grad]);
    b.step(Operator::MinimumGrad, &[1], &[input, side, other], &[grad_side]);
    b.step(Operator::PreluGrad, &[1], &[input, side, other], &[grad_side]);
    b.step(Operator::FunctionGrad, &[3], &[input, other], &[other]);
    b.step(Operator::Conv2dGradWeights, &same, &[input, other], &[grad_filter]);
    b.step(Operator::Conv2dGradInput, &same, &[other, filter], &[grad]);
    b.step(Operator::DepthwiseConv2dGradWeights, &same, &[input, grad], &[grad_depthwise]);
    b.step(Operator::DepthwiseConv2dGradInput, &same, &[grad, depthwise], &[other]);
    b.step(Operator::BatchNormGradStatistics, &relu, &[input, other, moments, parameters], &[partial]);
    b.once(Operator::SumChunks, &[], &[partial], &[sums]);
    b.step(
        Operator::BatchNormGradInput,
        &[relu[0], relu[1], 16],
        &[input, other, moments, parameters, sums],
        &[other],
    );
    let [sum_filter, sum_depthwise] = [grad_filter, grad_depthwise]
        .map(|Operand { shape: Shape(shape), .. }| b.f32(Space::Gradient, shape));
    let pixels = b.i8([1, 2, 3, 4], 0.05, 3);
    let (weights, bias) = (b.constant_f32([1, 1, 4, 9]), b.constant_f32([1, 1, 1, 9]));
    let [mean, scratch, grad_mean, grad_bias] = [(); 4].map(|()| b.f32(Space::Arena, [1, 1, 1, 9]));
    let mask = b.operand(Space::Arena, ElementType::U8, [1, 2, 3, 2]);
    let grad_weights = b.f32(Space::Arena, [1, 1, 4, 9]);
    let [relu, masked] = [(); 2].map(|()| b.f32(Space::Arena, [1, 2, 3, 9]));
    b.step(Operator::ActivationMask, &[1, 0], &[relu], &[mask]);
    b.step(Operator::ActivationMaskGrad, &[], &[relu, mask], &[masked]);
    b.step(Operator::ActivationMaskGrad, &[], &[relu, mask], &[relu]);
    b.step(Operator::PointwiseMean, &[1, 0], &[pixels, weights, bias], &[mean, scratch, mask]);
    let writes = [grad_weights, grad_bias, scratch];
    b.step(Operator::PointwiseMeanGrad, &[], &[pixels, mask, grad_mean], &writes);
    b.once(Operator::SumChunks, &[], &[grad_filter], &[sum_filter]);
    b.once(Operator::SumChunks, &[], &[grad_depthwise], &[sum_depthwise]);

    // Quantization in training.
    let range = b.f32(Space::State, [1, 1, 1, 2]);
    let seen = b.f32(Space::Chunk, [1, 1, 1, 2]);
    b.step(Operator::FakeQuantizeWeights, &[0], &[filter], &[grad_filter]);
    b.step(Operator::FakeQuantize, &[], &[other, range], &[other]);
    b.step(Operator::FakeQuantizeGrad, &[], &[input, other, range], &[grad]);
    b.step(Operator::FakeQuantizeGradRange, &[bits(0.5)], &[input, other, range], &[seen]);
    b.step(Operator::Extremes, &[], &[input], &[seen]);
    b.once(Operator::TrackRange, &[bits(0.1)], &[seen], &[range]);
    b.entry(EntryKind::Train, &[input, labels, logits], &[loss]);

    // Updates.
    let hyperparameters = b.f32(Space::State, [1, 1, 1, 4]);
    let [momentum, first] = [(); 2].map(|()| b.f32(Space::State, [3, 3, 2, 2]));
    let (first, second) = (first, b.f32(Space::State, [3, 3, 2, 2]));
    let (rate, decay) = (bits(0.9), bits(1e-4));
    b.once(Operator::Sgd, &[rate, decay, 1], &[sum_filter, hyperparameters], &[filter, momentum]);
    b.once(Operator::Sgd, &[0, decay, 0], &[sum_depthwise, hyperparameters], &[depthwise]);
    b.once(Operator::AdamAdvance, &[rate, bits(0.999)], &[], &[hyperparameters]);
    b.once(
        Operator::Adam,
        &[rate, bits(0.999), bits(1e-8), decay, 1],
        &[sum_filter, hyperparameters],
        &[filter, first, second],
    );
    let squares = b.f32(Space::State, [1, 1, 1, 1]);
    b.once(Operator::SumOfSquares, &[1], &[sum_filter], &[squares]);
    b.once(Operator::SumOfSquares, &[0], &[sum_depthwise], &[squares]);
    b.once(Operator::ClipByNorm, &[bits(0.5)], &[squares], &[sum_filter]);
    b.once(Operator::ClipByValue, &[bits(0.25)], &[], &[sum_filter]);
    let faults = b.operand(Space::State, ElementType::I32, [1, 1, 1, 1]);
    b.once(Operator::Guard, &[bits(0.25)], &[], &[sum_filter, faults]);
    b.once(Operator::L1Penalty, &[decay], &[filter], &[sum_filter]);
    let reads = [sum_filter, hyperparameters];
    b.once(Operator::Rmsprop, &[rate, bits(1e-8), decay, rate], &reads, &[filter, first, second]);
    b.once(Operator::Rmsprop, &[rate, bits(1e-8), decay, 0], &reads, &[filter, first]);
    b.once(Operator::Adagrad, &[bits(1e-10), decay], &reads, &[filter, first]);
    b.once(Operator::Adadelta, &[rate, bits(1e-6), decay], &reads, &[filter, first, second]);
    b.entry(EntryKind::Update, &[hyperparameters], &[filter]);
    b.finish()
}

/// A model that moves, reduces and resizes int8 tensors.
pub fn movement_int8() -> Parts {
    let mut b = Builder::new("movement int8");
    let input = b.i8([1, 3, 4, 2], 0.05, 3);
    let joined = b.i8([1, 3, 4, 5], 0.05, 3);
    b.step(Operator::Fill, &[3], &[], &[joined]);
    // Every pixel's channels, and the last one's again, mirrored.
    let (all, first) =
        ([3, 1, 4, 2, 8, 0, 2, 1, 20, 0, 5, 1, 0, 0], [3, 1, 4, 2, 8, 0, 2, -1, 20, 0, 5, 1, 1, 3]);
    b.step(Operator::Copy, &all, &[input], &[joined]);
    b.step(Operator::Copy, &first, &[input], &[joined]);
    let table = b.table(&[2, 1, 0, 1, 2]);
    let picked = b.i8([1, 5, 4, 5], 0.05, 3);
    b.step(Operator::Gather, &[1], &[joined, table], &[picked]);
    let resized = b.i8([1, 7, 3, 5], 0.05, 3);
    b.step(Operator::ResizeBilinearI8, &[0, 1], &[picked], &[resized]);
    let mean = b.i8([1, 1, 1, 5], 0.05, 3);
    b.step(Operator::SumI8, &[3, 0x6000_0000, -4], &[resized], &[mean]);
    let most = b.i8([1, 1, 3, 5], 0.05, 3);
    b.step(Operator::ReduceExtremeI8, &[0, 1], &[resized], &[most]);
    let place = b.operand(Space::Arena, ElementType::I32, [1, 1, 3, 1]);
    b.step(Operator::ArgMax, &[0, 3], &[most], &[place]);
    b.entry(EntryKind::Infer, &[input], &[place]);
    b.finish()
}

/// A model that moves, reduces and resizes f32 tensors, and goes back.
pub fn movement_f32() -> Parts {
    let mut b = Builder::new("movement f32");
    let input = b.f32(Space::Arena, [2, 3, 2, 2]);
    let large = b.f32(Space::Arena, [2, 6, 4, 2]);
    b.step(Operator::ResizeBilinear, &[1, 0], &[input], &[large]);
    let most = b.f32(Space::Arena, [2, 1, 4, 1]);
    b.step(Operator::Reduce, &[2, 5], &[large], &[most]);
    let (grad_large, grad) = (b.f32(Space::Arena, [2, 6, 4, 2]), b.f32(Space::Arena, [2, 3, 2, 2]));
    b.step(Operator::ReduceExtremeGrad, &[2, 5], &[large, most], &[grad_large]);
    b.step(Operator::ReduceGrad, &[1, 5], &[most], &[large]);
    b.step(Operator::ResizeBilinearGrad, &[1, 0], &[grad_large], &[grad]);
    let table = b.table(&[0, 0, 1, 1, 2, 2]);
    let picked = b.f32(Space::Arena, [2, 6, 2, 2]);
    b.step(Operator::Gather, &[1], &[input, table], &[picked]);
    b.step(Operator::GatherGrad, &[1], &[picked, table], &[grad]);
    b.step(Operator::Fill, &[0], &[], &[grad]);
    b.step(Operator::CopyAdd, &[1, 3, 2, 2, 0, 8, 2, 1, 0, 4, 2, 1, 0, 0], &[large], &[grad]);
    b.entry(EntryKind::Train, &[input], &[grad]);
    b.finish()
}

/// A model with convolutions in groups, transposed ones and log-softmax, in int8.
pub fn convolutions_int8() -> Parts {
    let mut b = Builder::new("convolutions int8");
    let clamp = [-128, 127];
    let input = b.i8([1, 3, 2, 4], 0.05, 3);
    let grouped = b.i8([1, 3, 2, 6], 0.1, -4);
    let (filter, channels) = (b.constant_i8([6, 3, 3, 2]), b.channels(6));
    let attributes = [window(1, 1).as_slice(), &clamp].concat();
    b.step(Operator::Conv2dI8, &attributes, &[input, filter, channels], &[grouped]);
    let transposed = b.i8([1, 6, 4, 5], 0.1, 7);
    let (filter, channels) = (b.constant_i8([5, 3, 3, 6]), b.channels(5));
    let attributes = [[3, 3, 2, 2, 0, 1, 0, 1, 1, 1].as_slice(), &clamp].concat();
    b.step(Operator::TransposeConvI8, &attributes, &[grouped, filter, channels], &[transposed]);
    let rows = b.i8([1, 6, 4, 3], 0.2, 0);
    let (weights, channels) = (b.constant_i8([3, 1, 1, 5]), b.channels(3));
    b.step(Operator::FullyConnectedI8, &clamp, &[transposed, weights, channels], &[rows]);
    let output = b.i8([1, 6, 4, 3], log_softmax::int8::OUTPUT.scale, log_softmax::int8::OUTPUT.zero_point);
    let attributes = LogSoftmaxI8::new(0.2).unwrap().attributes();
    b.step(Operator::LogSoftmaxI8, &attributes, &[rows], &[output]);
    b.entry(EntryKind::Infer, &[input], &[output]);
    b.finish()
}

/// A model with convolutions in groups, transposed ones and log-softmax, in f32, and back.
pub fn convolutions_f32() -> Parts {
    let mut b = Builder::new("convolutions f32");
    let none = [0, 0];
    let input = b.f32(Space::Arena, [2, 3, 2, 4]);
    let grouped = b.f32(Space::Arena, [2, 3, 2, 6]);
    let (filter, bias) = (b.constant_f32([3, 3, 2, 6]), b.constant_f32([1, 1, 1, 6]));
    let attributes = [window(1, 1).as_slice(), &none].concat();
    b.step(Operator::Conv2d, &attributes, &[input, filter, bias], &[grouped]);
    let [transposed, scores, grad_transposed] = [(); 3].map(|()| b.f32(Space::Arena, [2, 6, 4, 3]));
    let (transposed_filter, bias) = (b.f32(Space::Parameter, [3, 3, 3, 6]), b.constant_f32([1, 1, 1, 3]));
    let double = [3, 3, 2, 2, 0, 1, 0, 1, 1, 1];
    let attributes = [double.as_slice(), &none].concat();
    b.step(Operator::TransposeConv, &attributes, &[grouped, transposed_filter, bias], &[transposed]);
    b.step(Operator::LogSoftmax, &[], &[transposed], &[scores]);
    b.step(Operator::LogSoftmaxGrad, &[], &[scores, transposed], &[grad_transposed]);
    let partial = b.f32(Space::Chunk, [3, 3, 3, 6]);
    b.step(Operator::TransposeConvGradWeights, &double, &[grouped, grad_transposed], &[partial]);
    let grad = b.f32(Space::Arena, [2, 3, 2, 6]);
    b.step(Operator::TransposeConvGradInput, &double, &[grad_transposed, transposed_filter], &[grad]);
    let partial = b.f32(Space::Chunk, [3, 3, 2, 6]);
    b.step(Operator::Conv2dGradWeights, &window(1, 1), &[input, grad], &[partial]);
    let grad_input = b.f32(Space::Arena, [2, 3, 2, 4]);
    b.step(Operator::Conv2dGradInput, &window(1, 1), &[grad, filter], &[grad_input]);
    b.entry(EntryKind::Train, &[input], &[grad_input]);
    b.finish()
}

/// A model with recurrent layers, in f32 and back, and in int8.
pub fn recurrent() -> Parts {
    let mut b = Builder::new("recurrent");
    let (time_major, from_zero) = (0, 1);
    let input = b.f32(Space::Arena, [1, 1, 3, 2]);
    let [weights, recurrent] = [[1, 1, 2, 12], [1, 1, 3, 12]].map(|shape| b.constant_f32(shape));
    let bias = b.constant_f32([1, 1, 1, 12]);
    let [hidden, cell] = [(); 2].map(|()| b.f32(Space::State, [1, 1, 1, 3]));
    let (output, cache) = (b.f32(Space::Arena, [1, 1, 3, 3]), b.f32(Space::Arena, [1, 1, 3, 15]));
    b.once(
        Operator::Lstm,
        &[time_major, from_zero, bits(5.0)],
        &[input, weights, recurrent, bias],
        &[output, hidden, cell, cache],
    );
    let (gates, scratch) = (b.f32(Space::Arena, [1, 1, 3, 12]), b.f32(Space::Arena, [1, 1, 1, 6]));
    let attributes = [time_major, from_zero, 0];
    b.step(Operator::LstmGradGates, &attributes, &[output, cache, recurrent], &[gates, scratch]);
    let grad = b.f32(Space::Arena, [1, 1, 3, 12]);
    b.step(Operator::LstmGradRecurrent, &attributes, &[output, gates], &[grad]);
    let (recurrent, bias) = (b.constant_f32([1, 1, 4, 12]), b.constant_f32([1, 1, 1, 12]));
    let [units, grad_units] = [(); 2].map(|()| b.f32(Space::Arena, [1, 1, 3, 4]));
    let (hidden, cache) = (b.f32(Space::State, [1, 1, 1, 4]), b.f32(Space::Arena, [1, 1, 3, 16]));
    b.once(Operator::Gru, &[time_major, from_zero], &[gates, recurrent, bias], &[units, hidden, cache]);
    b.step(Operator::ActivationF32, &[1, 0], &[units], &[grad_units]);
    let [of_gates, of_sums] = [(); 2].map(|()| b.f32(Space::Arena, [1, 1, 3, 12]));
    let scratch = b.f32(Space::Arena, [1, 1, 1, 4]);
    let reads = [grad_units, units, cache, recurrent];
    b.step(Operator::GruGradGates, &[time_major, from_zero], &reads, &[of_gates, of_sums, scratch]);
    let (features, time) = (b.constant_f32([1, 1, 3, 4]), b.constant_f32([1, 1, 4, 5]));
    let (bias, state) = (b.constant_f32([1, 1, 1, 2]), b.f32(Space::State, [1, 1, 3, 20]));
    let last = b.f32(Space::Arena, [1, 1, 3, 2]);
    b.once(Operator::Svdf, &[1, 0], &[output, features, time, bias], &[last, state]);

    let integers = |values: &[i32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let small = (1 << 30, -9);
    let input = b.i8([1, 1, 3, 2], 0.1, 3);
    let (weights, recurrent) = (b.constant_i8([12, 1, 1, 2]), b.constant_i8([12, 1, 1, 3]));
    let biases = b.constant(ElementType::I32, [1, 1, 12, 2], &integers(&[7; 24]));
    let factors = b.constant(ElementType::I32, [1, 1, 4, 4], &integers(&[small.0, small.1].repeat(8)));
    let output = b.i8([1, 1, 3, 3], 1.0 / 128.0, 0);
    let hidden = Operand { space: Space::State, offset: 0, ..output };
    let place = b.operand(Space::State, ElementType::I8, [1, 1, 1, 3]);
    let hidden = Operand { offset: place.offset, shape: place.shape, ..hidden };
    let cell = b.operand(Space::State, ElementType::I16, [1, 1, 1, 3]);
    let attributes =
        [time_major, from_zero, 1 << 30, -14, 1 << 30, -14, 1 << 30, -14, -11, i32::from(i16::MAX)];
    b.once(
        Operator::LstmI8,
        &attributes,
        &[input, weights, recurrent, biases, factors],
        &[output, hidden, cell],
    );
    // The LSTM's output is one unit's gates in each of three steps.
    let (recurrent, biases) =
        (b.constant_i8([3, 1, 1, 1]), b.constant(ElementType::I32, [1, 1, 1, 3], &integers(&[7; 3])));
    let factors = b.constant(ElementType::I32, [1, 1, 3, 2], &integers(&[small.0, small.1].repeat(3)));
    let unit = b.i8([1, 1, 3, 1], 1.0 / 128.0, 0);
    let place = b.operand(Space::State, ElementType::I8, [1, 1, 1, 1]);
    let hidden = Operand { space: Space::State, offset: place.offset, shape: place.shape, ..unit };
    let state = b.operand(Space::State, ElementType::I16, [1, 1, 1, 1]);
    b.once(
        Operator::GruI8,
        &[time_major, from_zero, 1 << 30, 5, 1 << 30, -7],
        &[output, recurrent, biases, factors],
        &[unit, hidden, state],
    );
    let (features, bias) =
        (b.constant_i8([4, 1, 1, 3]), b.constant(ElementType::I32, [1, 1, 1, 2], &integers(&[7; 2])));
    let time = b.constant(ElementType::I16, [1, 1, 4, 5], &[1; 40]);
    let quantization = Quantization { scale: 1.0 / 2048.0, zero_point: 0 };
    let state = b.operand(Space::State, ElementType::I16, [1, 1, 3, 20]);
    let state = Operand { quantization, ..state };
    let scores = b.i8([1, 1, 3, 2], 0.1, 3);
    let attributes = [small.0, small.1, small.0, small.1];
    b.once(Operator::SvdfI8, &attributes, &[output, features, time, bias], &[scores, state]);
    b.entry(EntryKind::Train, &[input], &[scores, last]);
    b.finish()
}

/// The bits of an f32, as an attribute holds them.
fn bits(value: f32) -> i32 {
    value.to_bits() as i32
}

/// All samples: together they have a step of every operator.
pub fn all() -> Vec<Parts> {
    vec![
        sum(),
        int8(),
        packed(),
        f32(),
        training(),
        movement_int8(),
        movement_f32(),
        convolutions_int8(),
        convolutions_f32(),
        recurrent(),
        packed_single(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_has_a_step() {
        let used: Vec<u8> = all().iter().flat_map(|parts| &parts.steps).map(|step| step.operator).collect();
        for &operator in Operator::ALL {
            assert!(used.contains(&(operator as u8)), "no sample has a step of {operator:?}: add one here");
        }
    }

    #[test]
    fn taken_apart_and_written_is_the_same() {
        for parts in all() {
            let file = parts.write();
            let read = Parts::read(&file).unwrap();
            assert_eq!(read, parts);
            assert_eq!(*read.write(), *file);
        }
    }
}
