//! What the int8 operators' tests share: random numbers, an independent requantization, and running one step.

use std::vec::Vec;

use super::{CHANNEL_WORDS, Channel};
use crate::geometry::{Axis, Window};
use crate::memory::{Memory, OtherSpaces};
use crate::operand::{ElementType, Operand, Quantization, Shape, Space};
use crate::ops::{AllOperators, Operator, check, run};
use crate::quantization::Multiplier;
use crate::step::{NewStep, Schedule, StepError};

/// `SplitMix64`.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `low..=high`.
    pub(crate) fn range(&mut self, low: i64, high: i64) -> i64 {
        low + (self.next() % (high - low + 1) as u64) as i64
    }

    /// A number in `low..=high`.
    pub(crate) fn size(&mut self, low: usize, high: usize) -> usize {
        self.range(low as i64, high as i64) as usize
    }

    /// `length` int8; now and then all of them extreme.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<i8> {
        let extreme = self.range(0, 9) == 0;
        let mut byte = || {
            if extreme {
                if self.next().is_multiple_of(2) { -128 } else { 127 }
            } else {
                self.range(-128, 127) as i8
            }
        };
        (0..length).map(|_| byte()).collect()
    }

    /// A zero point; often one of the two extremes.
    pub(crate) fn zero_point(&mut self) -> i32 {
        match self.range(0, 3) {
            0 => -128,
            1 => 127,
            _ => self.range(-128, 127) as i32,
        }
    }

    /// A clamp; half of the time the widest.
    pub(crate) fn clamp(&mut self) -> [i32; 2] {
        let low = self.range(-128, 127);
        if self.range(0, 1) == 0 { [-128, 127] } else { [low as i32, self.range(low, 127) as i32] }
    }

    /// One axis with stride, padding and dilation, and an input length it fits.
    pub(crate) fn axis(&mut self) -> (Axis, usize) {
        loop {
            let (kernel, stride, dilation) = (self.size(1, 4), self.size(1, 3), self.size(1, 2));
            let axis = Axis { kernel, stride, dilation, pad_before: 0, pad_after: 0 };
            let extent = axis.extent().unwrap();
            let (pad_before, pad_after) = (self.size(0, extent - 1), self.size(0, extent - 1));
            let (axis, input) = (Axis { pad_before, pad_after, ..axis }, self.size(1, 9));
            if axis.output(input).is_some() {
                return (axis, input);
            }
        }
    }

    /// A window and the input's height and width.
    pub(crate) fn window(&mut self) -> (Window, [usize; 2]) {
        let ((y, height), (x, width)) = (self.axis(), self.axis());
        (Window { y, x }, [height, width])
    }

    /// A channel whose outputs are spread over the int8 range and a little beyond. `weights` are its weights; now and then
    /// the factor is above one, or zero.
    pub(crate) fn channel(&mut self, weights: impl Iterator<Item = i8>, input_zero_point: i32) -> Channel {
        let (sum, norm) =
            weights.fold((0i64, 1i64), |(sum, norm), w| (sum + i64::from(w), norm + i64::from(w).abs()));
        let bias = self.range(-20 * norm, 20 * norm) - i64::from(input_zero_point) * sum;
        let right = i64::from(norm.ilog2()) + self.range(-2, 2);
        let multiplier = match self.range(0, 19) {
            0 => Multiplier { multiplier: 0, shift: 0 },
            1 => Multiplier { multiplier: i32::MAX, shift: 3 },
            _ => {
                Multiplier { multiplier: self.range(1 << 30, (1 << 31) - 1) as i32, shift: 1 - right as i32 }
            }
        };
        Channel { bias: bias as i32, multiplier }
    }
}

/// Requantization in two roundings, from their definitions: `factor * accumulator * 2^(31 - right shift)` to nearest, ties upward, then
/// the right shift to nearest, ties away from zero.
pub(crate) fn requantize(accumulator: i64, factor: Multiplier, zero_point: i32, clamp: [i32; 2]) -> i8 {
    let left = 1i128 << factor.shift.max(0);
    let high = high_mul(i128::from(accumulator) * left, i128::from(factor.multiplier));
    clamped(divide(high, 1 << (-factor.shift).max(0)), zero_point, clamp)
}

/// `a * b / 2^31` to nearest, ties upward.
pub(crate) fn high_mul(a: i128, b: i128) -> i128 {
    (a * b + (1 << 30)).div_euclid(1 << 31)
}

/// `a / divisor` to nearest, ties away from zero.
pub(crate) fn divide(a: i128, divisor: i128) -> i128 {
    a.signum() * ((a.abs() * 2 + divisor) / (divisor * 2))
}

/// Requantization in one rounding, to nearest with ties upward: what this crate does *not* do.
pub(crate) fn requantize_once(accumulator: i64, factor: Multiplier, zero_point: i32, clamp: [i32; 2]) -> i8 {
    let product = i128::from(accumulator) * i128::from(factor.multiplier);
    let divisor = 1i128 << (31 - factor.shift);
    clamped((product + divisor / 2).div_euclid(divisor), zero_point, clamp)
}

fn clamped(value: i128, zero_point: i32, [low, high]: [i32; 2]) -> i8 {
    (value + i128::from(zero_point)).max(i128::from(low)).min(i128::from(high)) as i8
}

/// A step and its constants: operands in the arena and in the constant space, one after the other.
pub(crate) struct Case {
    pub(crate) step: NewStep,
    pub(crate) constant: Vec<u64>,
    arena_bytes: usize,
}

impl Case {
    pub(crate) fn new(operator: Operator, attributes: &[i32]) -> Self {
        let step = NewStep {
            operator: operator as u8,
            schedule: Schedule::PerChunk,
            attributes: attributes.iter().copied().collect(),
            reads: heapless::Vec::new(),
            writes: heapless::Vec::new(),
        };
        Self { step, constant: Vec::new(), arena_bytes: 0 }
    }

    fn operand(
        &mut self,
        element_type: ElementType,
        shape: Shape,
        quantization: Option<Quantization>,
    ) -> Operand {
        let offset = self.arena_bytes as u32;
        let operand = Operand {
            space: Space::Arena,
            element_type,
            offset,
            shape,
            quantization: quantization.unwrap_or(Quantization::NONE),
        };
        self.arena_bytes += operand.bytes().unwrap().next_multiple_of(8);
        operand
    }

    /// A read in the arena.
    pub(crate) fn reads(
        mut self,
        element_type: ElementType,
        shape: Shape,
        quantization: Option<Quantization>,
    ) -> Self {
        let operand = self.operand(element_type, shape, quantization);
        self.step.reads.push(operand).unwrap();
        self
    }

    /// A write in the arena.
    pub(crate) fn writes(
        mut self,
        element_type: ElementType,
        shape: Shape,
        quantization: Option<Quantization>,
    ) -> Self {
        let operand = self.operand(element_type, shape, quantization);
        self.step.writes.push(operand).unwrap();
        self
    }

    /// A read of int8 or i32 constants.
    pub(crate) fn constant<T: bytemuck::NoUninit>(
        mut self,
        element_type: ElementType,
        shape: Shape,
        values: &[T],
    ) -> Self {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let offset = (self.constant.len() * 8) as u32;
        self.constant.resize(self.constant.len() + bytes.len().div_ceil(8), 0);
        bytemuck::cast_slice_mut::<_, u8>(&mut self.constant)[offset as usize..][..bytes.len()]
            .copy_from_slice(bytes);
        self.step
            .reads
            .push(Operand {
                space: Space::Constant,
                element_type,
                offset,
                shape,
                quantization: Quantization::NONE,
            })
            .unwrap();
        self
    }

    /// The records of `channels`.
    pub(crate) fn channels(self, channels: &[Channel]) -> Self {
        let words: Vec<[i32; CHANNEL_WORDS]> = channels.iter().map(|channel| channel.words()).collect();
        self.constant(ElementType::I32, super::channels_shape(channels.len() as u32), words.as_flattened())
    }

    pub(crate) fn check(&self) -> Result<(), StepError> {
        check::<AllOperators>(self.step.step(), bytemuck::cast_slice(&self.constant))
    }

    /// Checks and runs the step with `inputs` in the reads of the arena, in order, and gives the first write.
    pub(crate) fn run<I: bytemuck::NoUninit, O: bytemuck::AnyBitPattern>(&self, inputs: &[&[I]]) -> Vec<O> {
        self.check().unwrap();
        let mut arena = std::vec![0u64; self.arena_bytes.div_ceil(8)];
        let arena: &mut [u8] = bytemuck::cast_slice_mut(&mut arena);
        for (operand, input) in self.step.reads.iter().filter(|read| read.space == Space::Arena).zip(inputs) {
            let (start, end) = operand.range().unwrap();
            arena[start..end].copy_from_slice(bytemuck::cast_slice(input));
        }
        let mut memory = Memory {
            constant: bytemuck::cast_slice(&self.constant),
            elsewhere: &mut OtherSpaces::empty(),
            arena,
        };
        run::<AllOperators>(self.step.step(), &mut memory).unwrap();
        let (start, end) = self.step.writes[0].range().unwrap();
        bytemuck::cast_slice(&arena[start..end]).to_vec()
    }

    /// What `check` says of the step after `change`.
    #[track_caller]
    pub(crate) fn expect(&self, expected: StepError, change: impl FnOnce(&mut NewStep)) {
        let mut step = self.step.clone();
        change(&mut step);
        assert_eq!(check::<AllOperators>(step.step(), bytemuck::cast_slice(&self.constant)), Err(expected));
    }

    /// `check` has nothing to say against the step after `change`.
    #[track_caller]
    pub(in crate::ops) fn expect_ok(&self, change: impl FnOnce(&mut NewStep)) {
        let mut step = self.step.clone();
        change(&mut step);
        assert_eq!(check::<AllOperators>(step.step(), bytemuck::cast_slice(&self.constant)), Ok(()));
    }
}

/// Checks what `check` says of each operand's type, of numbers of operands and attributes, and of the quantization of those
/// operands that are `quantized`.
#[track_caller]
pub(crate) fn expect_operand_errors(case: &Case, quantized: &[usize]) {
    let (reads, attributes) = (case.step.reads.len(), case.step.attributes.len());
    case.check().unwrap();
    for index in 0..=reads {
        let wrong = |step: &mut NewStep| {
            let operand = operand_mut(step, index);
            operand.element_type = match operand.element_type {
                ElementType::I32 => ElementType::I8,
                _ => ElementType::I32,
            };
        };
        case.expect(StepError::ElementType { operand: index as u8 }, wrong);
    }
    for &index in quantized {
        let found = operand_mut(&mut case.step.clone(), index).quantization;
        let bad = [
            Quantization::NONE,
            Quantization { scale: 0.0, ..found },
            Quantization { scale: f32::NAN, ..found },
            Quantization { zero_point: 128, ..found },
            Quantization { zero_point: -129, ..found },
        ];
        for bad in bad {
            case.expect(StepError::Quantization { operand: index as u8 }, |step| {
                operand_mut(step, index).quantization = bad;
            });
        }
    }
    let found = reads as u8 - 1;
    case.expect(StepError::ReadCount { expected: reads as u8, found }, |step| {
        step.reads.pop();
    });
    let expected = case.step.writes.len() as u8;
    case.expect(StepError::WriteCount { expected, found: 0 }, |step| step.writes.clear());
    let expected = attributes as u8;
    case.expect(StepError::AttributeCount { expected, found: expected + 1 }, |step| {
        step.attributes.push(0).unwrap();
    });
}

/// The operand `index`, reads first.
pub(crate) fn operand_mut(step: &mut NewStep, index: usize) -> &mut Operand {
    let reads = step.reads.len();
    if index < reads { &mut step.reads[index] } else { &mut step.writes[index - reads] }
}

/// Checks what `check` says of the clamp in the attributes from `first` on.
#[track_caller]
pub(crate) fn expect_clamp_errors(case: &Case, first: usize) {
    for (min, max, at) in [(-129, 127, 0), (128, 127, 0), (5, 4, 1), (-128, 128, 1)] {
        let found = [min, max][at];
        case.expect(StepError::Attribute { index: (first + at) as u8, found }, |step| {
            step.attributes[first] = min;
            step.attributes[first + 1] = max;
        });
    }
}

/// Checks what `check` says of the constants, operands 1 (int8) and 2 (records of channels).
#[track_caller]
pub(crate) fn expect_constant_errors(case: &Case, with_channel: impl Fn(Channel) -> Case) {
    for index in [1, 2] {
        case.expect(StepError::Space { operand: index }, |step| {
            step.reads[index as usize].space = Space::Parameter;
        });
        case.expect(StepError::Memory, |step| step.reads[index as usize].offset = 1 << 20);
        case.expect(StepError::Shape { operand: index }, |step| step.reads[index as usize].shape.0[3] += 1);
    }
    let right = Multiplier { multiplier: 1 << 30, shift: 0 };
    with_channel(Channel { bias: 0, multiplier: right }).check().unwrap();
    for multiplier in [
        Multiplier { multiplier: 1, ..right },
        Multiplier { multiplier: -1 << 30, ..right },
        Multiplier { shift: 31, ..right },
        Multiplier { shift: -32, ..right },
    ] {
        let found = with_channel(Channel { bias: 0, multiplier }).check();
        assert_eq!(found, Err(StepError::Quantization { operand: 2 }));
    }
    for bias in [i32::MIN, i32::MAX] {
        let found = with_channel(Channel { bias, multiplier: right }).check();
        assert!(matches!(found, Err(StepError::Accumulator { .. })), "{found:?}");
    }
}

/// A quantization with this zero point.
pub(crate) fn at(zero_point: i32) -> Option<Quantization> {
    Some(Quantization { scale: 0.05, zero_point })
}

/// A shape of these sizes.
pub(crate) fn shape(dims: [usize; 4]) -> Shape {
    Shape(dims.map(|dim| dim as u32))
}

/// Runs steps with the output as far over the input as [`overlap`](crate::ops::overlap) says, and a byte further. `problem` gives a step whose input,
/// output and scratch lie in this order, and the input's shape.
pub(crate) fn runs_over_its_input(random: &mut Random, problem: impl Fn(&mut Random) -> (Case, Shape)) {
    let (mut over, mut too_far_differs) = (0, 0);
    for _ in 0..400 {
        let (mut case, shape) = problem(random);
        let Some(distance) = crate::ops::overlap::<AllOperators>(case.step.step()) else { continue };
        let input = random.bytes(shape.elements().unwrap());
        let apart: Vec<i8> = case.run(&[&input]);
        let mut at = |distance: usize| -> Vec<i8> {
            case.step.writes[0].offset = 0;
            case.step.reads[0].offset = distance as u32;
            case.run(&[&input])
        };
        assert_eq!(at(distance), apart, "{shape:?} {distance}");
        over += 1;
        if let Some(less) = distance.checked_sub(1) {
            too_far_differs += usize::from(at(less) != apart);
        }
    }
    assert!(over > 40 && too_far_differs > 3, "{over} {too_far_differs}");
}
