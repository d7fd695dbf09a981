//! Tests of fully connected layers on packed weights: the same for every layout.

use std::vec::Vec;

use crate::kernels::int8::{Folded, PackedChannel, tests::layer_channel};
use crate::operand::{ElementType, Shape};
use crate::ops::Operator;
use crate::ops::int8::Channel;
use crate::ops::int8::reference::{Case, Random, at, expect_clamp_errors, expect_operand_errors, shape};
use crate::step::StepError;

/// A layout, as its operator has it.
pub(super) struct Layout {
    pub(super) operator: Operator,
    /// Shapes of the stream, whose records are its third dimension, and of the scratch, for so many inputs and outputs.
    pub(super) shapes: fn(u32, u32) -> [Option<Shape>; 2],
    /// Channels of a record.
    pub(super) channels: usize,
    pub(super) pack: fn(&[PackedChannel<'_>], &mut [i32]) -> Option<()>,
}

struct Problem {
    /// Rows, inputs, outputs.
    size: [usize; 3],
    zero_points: [i32; 2],
    clamp: [i32; 2],
    weights: Vec<i8>,
    channels: Vec<Channel>,
}

impl Problem {
    fn random(random: &mut Random) -> Self {
        let size = [random.size(1, 3), random.size(1, 150), random.size(1, 9)];
        let [_, in_c, out_c] = size;
        let mut weights = random.bytes(in_c * out_c);
        weights.iter_mut().for_each(|weight| *weight = (*weight).max(-127));
        let zero_points = [random.zero_point(), random.zero_point()];
        let channels = weights.chunks(in_c).map(|row| layer_channel(random, row, zero_points[0])).collect();
        Self { size, zero_points, clamp: random.clamp(), weights, channels }
    }

    fn input(&self) -> Shape {
        let [rows, in_c, _] = self.size;
        shape([rows, 1, 1, in_c])
    }

    fn output(&self) -> Shape {
        let [rows, _, out_c] = self.size;
        shape([rows, 1, 1, out_c])
    }

    fn plain(&self) -> Case {
        let [_, in_c, out_c] = self.size;
        Case::new(Operator::FullyConnectedI8, &self.clamp)
            .reads(ElementType::I8, self.input(), at(self.zero_points[0]))
            .constant(ElementType::I8, shape([out_c, 1, 1, in_c]), &self.weights)
            .channels(&self.channels)
            .writes(ElementType::I8, self.output(), at(self.zero_points[1]))
    }

    fn packed(&self, layout: &Layout) -> Case {
        let [_, in_c, out_c] = self.size;
        let [stream_shape, scratch] = (layout.shapes)(in_c as u32, out_c as u32);
        let stream_shape = stream_shape.unwrap();
        let mut stream = std::vec![0; stream_shape.elements().unwrap()];
        let channels: Vec<_> = (self.weights.chunks(in_c).zip(&self.channels))
            .map(|(weights, channel)| {
                let scale = Folded::new(channel.multiplier, self.zero_points[1], 1 << 29).unwrap();
                PackedChannel { weights, bias: channel.bias, scale }
            })
            .collect();
        let records = stream.chunks_mut(stream_shape.dims()[3]);
        for (channels, record) in channels.chunks(layout.channels).zip(records) {
            (layout.pack)(channels, record).unwrap();
        }
        let case = Case::new(layout.operator, &self.clamp)
            .reads(ElementType::I8, self.input(), at(self.zero_points[0]))
            .constant(ElementType::I32, stream_shape, &stream)
            .writes(ElementType::I8, self.output(), at(self.zero_points[1]));
        match scratch {
            Some(scratch) => case.writes(ElementType::I32, scratch, None),
            None => case,
        }
    }
}

pub(super) fn equals_the_plain_layout(layout: &Layout) {
    let mut random = Random(60);
    for _ in 0..600 {
        let problem = Problem::random(&mut random);
        let [rows, in_c, _] = problem.size;
        let input = random.bytes(rows * in_c);
        let found: Vec<i8> = problem.packed(layout).run(&[&input]);
        assert_eq!(found, problem.plain().run::<i8, i8>(&[&input]), "{:?}", problem.size);
    }
}

pub(super) fn output_may_lie_over_the_input(layout: &Layout) {
    let mut random = Random(62);
    for _ in 0..200 {
        let problem = Problem::random(&mut random);
        let mut case = problem.packed(layout);
        let input = random.bytes(problem.size[0] * problem.size[1]);
        let apart: Vec<i8> = case.run(&[&input]);
        let overlap = crate::ops::overlap::<crate::AllOperators>(case.step.step());
        if problem.size[0] > 1 {
            assert_eq!(overlap, None);
            continue;
        }
        assert_eq!(overlap, Some(0));
        case.step.writes[0].offset = case.step.reads[0].offset;
        assert_eq!(case.run::<i8, i8>(&[&input]), apart, "{:?}", problem.size);
    }
}

pub(super) fn check_says_what_is_wrong(layout: &Layout) {
    let case = Problem::random(&mut Random(61)).packed(layout);
    expect_operand_errors(&case, &[0, 2]);
    expect_clamp_errors(&case, 0);
    case.expect(StepError::Memory, |step| step.reads[1].offset = 1 << 20);
    case.expect(StepError::Shape { operand: 2 }, |step| step.reads[0].shape.0[1] += 1);
    case.expect(StepError::Shape { operand: 2 }, |step| step.writes[0].shape.0[0] += 1);
    case.expect(StepError::Shape { operand: 1 }, |step| step.reads[1].shape.0[3] += 1);
    if case.step.writes.len() > 1 {
        case.expect(StepError::Shape { operand: 3 }, |step| step.writes[1].shape.0[3] += 1);
    }
}
