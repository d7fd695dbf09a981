//! Tests of convolutions on packed weights: the same for every layout.

use std::vec::Vec;

use super::Operator;
use super::int8::Channel;
use super::int8::reference::{
    Case, Random, at, expect_clamp_errors, expect_operand_errors, runs_over_its_input, shape,
};
use super::overlap::sample;
use super::packed;
use crate::geometry::{WINDOW_ATTRIBUTES, Window};
use crate::kernels::int8::{Folded, PackedChannel};
use crate::operand::{ElementType, Shape};
use crate::quantization::Multiplier;
use crate::step::StepError;

/// A layout, as its operator has it.
pub(super) struct Cases {
    pub(super) operator: Operator,
    pub(super) layout: &'static packed::Layout,
    /// Whether an output channel sees one input channel only.
    pub(super) depthwise: bool,
    pub(super) sizes: fn(&mut Random) -> Sizes,
    /// A random channel with these weights and this zero point of the input.
    pub(super) channel: fn(&mut Random, &[i8], i32) -> Channel,
    /// Writes records of so many words, all of the stream; `None` if the layout cannot hold the layer.
    pub(super) pack: fn(&Problem, usize, &mut [i32]) -> Option<()>,
}

/// A window, height and width of an input for it, and the channels of input and output.
pub(super) type Sizes = (Window, [usize; 2], [usize; 2]);

/// A layer.
pub(super) struct Problem {
    pub(super) window: Window,
    pub(super) input: [usize; 4],
    pub(super) output: [usize; 4],
    /// Of input and output.
    pub(super) zero_points: [i32; 2],
    clamp: [i32; 2],
    /// Of each output channel, in the order of its taps.
    pub(super) weights: Vec<Vec<i8>>,
    pub(super) channels: Vec<Channel>,
}

/// Windows of one tap and others, up to 40 channels that become up to 9.
pub(super) fn convolution(random: &mut Random) -> Sizes {
    let (window, size) = match random.size(0, 2) {
        0 => (Window::ONE, [random.size(1, 5), random.size(1, 5)]),
        _ => random.window(),
    };
    (window, size, [random.size(1, 40), random.size(1, 9)])
}

/// A channel whose shift is not to the left; its factor may be zero.
pub(super) fn shifted_right(random: &mut Random, weights: &[i8], input_zero_point: i32) -> Channel {
    let Channel { bias, multiplier } = random.channel(weights.iter().copied(), input_zero_point);
    Channel { bias, multiplier: Multiplier { shift: multiplier.shift.min(0), ..multiplier } }
}

impl Problem {
    /// One that the layout can hold.
    pub(super) fn random(cases: &Cases, random: &mut Random) -> Self {
        loop {
            let problem = Self::any(cases, random);
            if problem.stream(cases).is_some() {
                return problem;
            }
        }
    }

    fn any(cases: &Cases, random: &mut Random) -> Self {
        let (window, [in_h, in_w], [in_c, out_c]) = (cases.sizes)(random);
        let (out_h, out_w) = (window.y.output(in_h).unwrap(), window.x.output(in_w).unwrap());
        let depth = if cases.depthwise { 1 } else { in_c };
        let length = window.y.kernel * window.x.kernel * depth;
        // Few layouts hold -128 everywhere.
        let least = [-127, -128][random.size(0, 1)];
        let zero_points = [random.zero_point(), random.zero_point()];
        let weights: Vec<Vec<i8>> = (0..out_c)
            .map(|_| random.bytes(length).into_iter().map(|weight| weight.max(least)).collect())
            .collect();
        let channels = weights.iter().map(|row| (cases.channel)(random, row, zero_points[0])).collect();
        let n = random.size(1, 2);
        let (input, output) = ([n, in_h, in_w, in_c], [n, out_h, out_w, out_c]);
        Self { window, input, output, zero_points, clamp: random.clamp(), weights, channels }
    }

    /// A channel, with its requantization folded for accumulators of at most this magnitude.
    pub(super) fn folded(&self, channel: usize, bound: u64) -> Option<PackedChannel<'_>> {
        let Channel { bias, multiplier } = *self.channels.get(channel)?;
        let scale = Folded::new(multiplier, self.zero_points[1], bound)?;
        Some(PackedChannel { weights: &self.weights[channel], bias, scale })
    }

    /// A channel as it is.
    pub(super) fn scaled(&self, channel: usize) -> Option<PackedChannel<'_, Multiplier>> {
        let Channel { bias, multiplier: scale } = *self.channels.get(channel)?;
        Some(PackedChannel { weights: &self.weights[channel], bias, scale })
    }

    fn case(&self, operator: Operator) -> Case {
        let attributes = [self.window.attributes().as_slice(), &self.clamp].concat();
        Case::new(operator, &attributes).reads(ElementType::I8, shape(self.input), at(self.zero_points[0]))
    }

    fn plain(&self, cases: &Cases) -> Case {
        let (Window { y, x }, [.., in_c], [.., out_c]) = (self.window, self.input, self.output);
        let (operator, filter_shape, filter) = if cases.depthwise {
            let taps = (0..y.kernel * x.kernel).flat_map(|tap| self.weights.iter().map(move |row| row[tap]));
            (Operator::DepthwiseConv2dI8, shape([1, y.kernel, x.kernel, out_c]), taps.collect())
        } else {
            (Operator::Conv2dI8, shape([out_c, y.kernel, x.kernel, in_c]), self.weights.concat())
        };
        self.case(operator).constant(ElementType::I8, filter_shape, &filter).channels(&self.channels).writes(
            ElementType::I8,
            shape(self.output),
            at(self.zero_points[1]),
        )
    }

    fn shapes(&self, cases: &Cases) -> [Shape; 2] {
        (cases.layout.shapes)(&self.window, shape(self.input), shape(self.output)).unwrap()
    }

    pub(super) fn stream(&self, cases: &Cases) -> Option<Vec<i32>> {
        let [shape, _] = self.shapes(cases);
        let mut stream = std::vec![0; shape.elements().unwrap()];
        (cases.pack)(self, shape.dims()[3], &mut stream)?;
        Some(stream)
    }

    pub(super) fn packed(&self, cases: &Cases, stream: &[i32]) -> Case {
        let [stream_shape, scratch] = self.shapes(cases);
        self.case(cases.operator)
            .constant(ElementType::I32, stream_shape, stream)
            .writes(ElementType::I8, shape(self.output), at(self.zero_points[1]))
            .writes(cases.layout.scratch.unwrap(), scratch, None)
    }
}

fn random_case(cases: &Cases, random: &mut Random) -> (Problem, Case) {
    let problem = Problem::random(cases, random);
    let case = problem.packed(cases, &problem.stream(cases).unwrap());
    (problem, case)
}

pub(super) fn equals_the_plain_layout(cases: &Cases) {
    let mut random = Random(50);
    let mut saturated = [0, 0];
    for _ in 0..600 {
        let (problem, case) = random_case(cases, &mut random);
        let input = random.bytes(problem.input.iter().product());
        let found: Vec<i8> = case.run(&[&input]);
        let expected: Vec<i8> = problem.plain(cases).run(&[&input]);
        assert_eq!(found, expected, "{:?} {:?} {:?}", problem.window, problem.input, problem.output);
        for (count, end) in saturated.iter_mut().zip([-128, 127]) {
            *count += found.iter().filter(|&&value| value == end).count();
        }
    }
    assert!(saturated[0] > 0 && saturated[1] > 0);
}

pub(super) fn output_may_run_over_the_input_as_far_as_it_says(cases: &Cases) {
    runs_over_its_input(&mut Random(54), |random| {
        let (problem, case) = random_case(cases, random);
        (case, shape(problem.input))
    });
}

/// Of a layout whose operator works in exactly the input's place.
pub(super) fn works_in_the_place_of_the_input(cases: &Cases) {
    let distance = cases.layout.in_place.unwrap();
    let mut random = Random(53);
    let mut tested = 0;
    while tested < 50 {
        let (problem, mut case) = random_case(cases, &mut random);
        if problem.input != problem.output {
            continue;
        }
        let input = random.bytes(problem.input.iter().product());
        let expected: Vec<i8> = case.run(&[&input]);
        case.step.writes[0].offset = case.step.reads[0].offset;
        let one = sample(shape(problem.input));
        if distance(&problem.window, one, one) == Some(0) {
            assert_eq!(case.run::<i8, i8>(&[&input]), expected, "{:?} {:?}", problem.window, problem.input);
            tested += 1;
        } else {
            assert_eq!(case.check(), Err(StepError::Overlap { write: 0 }));
        }
    }
}

/// Of a layout of whose stream nothing has to be proved.
pub(super) fn any_stream_runs(cases: &Cases) {
    assert!(cases.layout.proof.is_none());
    let mut random = Random(51);
    for _ in 0..100 {
        let problem = Problem::random(cases, &mut random);
        let input = random.bytes(problem.input.iter().product());
        let mut stream = problem.stream(cases).unwrap();
        stream.fill_with(|| random.range(i32::MIN.into(), i32::MAX.into()) as i32);
        let found: Vec<i8> = problem.packed(cases, &stream).run(&[&input]);
        assert_eq!(found.len(), problem.output.iter().product());
    }
}

pub(super) fn check_says_what_is_wrong(cases: &Cases) {
    let (_, case) = random_case(cases, &mut Random(52));
    expect_operand_errors(&case, &[0, 2]);
    expect_clamp_errors(&case, WINDOW_ATTRIBUTES);
    case.expect(StepError::Space { operand: 1 }, |step| step.reads[1].space = crate::operand::Space::Arena);
    case.expect(StepError::Memory, |step| step.reads[1].offset = 1 << 20);
    for dim in 0..if cases.layout.keeps_channels { 4 } else { 3 } {
        case.expect(StepError::Shape { operand: 2 }, |step| step.writes[0].shape.0[dim] += 1);
    }
    case.expect(StepError::Shape { operand: 1 }, |step| step.reads[1].shape.0[3] += 1);
    case.expect(StepError::Shape { operand: 3 }, |step| step.writes[1].shape.0[3] += 1);
}
