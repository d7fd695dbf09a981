//! Convolutions, depthwise convolutions and fully connected layers as steps of a program: what is checked before they run, and that they
//! run what the functions on slices compute.

mod common;

use common::{Kind, Layer, Random, elements, operand};
use smidgen::ops::{Operator, activation::Activation, check, run};
use smidgen::{
    Aligned, AllOperators, ElementType, Memory, NewStep, Operand, OtherSpaces, Schedule, Shape, StepError,
    elements as typed,
};

/// A step with its operands one after the other in the arena.
fn step(operator: Operator, attributes: &[i32], reads: &[Shape], writes: &[Shape]) -> NewStep {
    let mut offset = 0;
    let mut place = |shape: &Shape| {
        let placed = operand(offset, *shape);
        offset += 4 * u32::try_from(elements(*shape)).unwrap();
        placed
    };
    NewStep {
        operator: operator as u8,
        schedule: Schedule::PerChunk,
        attributes: attributes.iter().copied().collect(),
        reads: reads.iter().map(&mut place).collect(),
        writes: writes.iter().map(&mut place).collect(),
    }
}

/// The forward step of a layer (with a bias) and the steps of its gradients.
fn steps(layer: &Layer, activation: Activation) -> [NewStep; 4] {
    use Operator::*;
    let Layer { input, filter, output, window, .. } = *layer;
    let [_, _, _, channels] = output.0;
    let bias = Shape::vector(channels);
    let (operators, window) = match layer.kind {
        Kind::Convolution => ([Conv2d, Conv2dGradInput, Conv2dGradWeights], window.attributes().to_vec()),
        Kind::Depthwise => (
            [DepthwiseConv2d, DepthwiseConv2dGradInput, DepthwiseConv2dGradWeights],
            window.attributes().to_vec(),
        ),
        Kind::FullyConnected => {
            ([FullyConnected, FullyConnectedGradInput, FullyConnectedGradWeights], vec![])
        }
        Kind::Transposed => {
            ([TransposeConv, TransposeConvGradInput, TransposeConvGradWeights], window.attributes().to_vec())
        }
    };
    let with_activation = [window.as_slice(), &activation.attributes()].concat();
    let [forward, grad_input, grad_weights] = operators;
    [
        step(forward, &with_activation, &[input, filter, bias], &[output]),
        step(grad_input, &window, &[output, filter], &[input]),
        step(grad_weights, &window, &[input, output], &[filter]),
        step(GradBias, &[], &[output], &[bias]),
    ]
}

fn checked(step: &NewStep) -> Result<(), StepError> {
    check::<AllOperators>(step.step(), &[])
}

/// Runs a step on random reads; gives the reads and the write.
fn run_on_random(step: &NewStep, random: &mut Random) -> (Vec<Vec<f32>>, Vec<f32>) {
    let mut arena = Box::new(Aligned([0u8; 1 << 20]));
    let values: Vec<Vec<f32>> = step.reads.iter().map(|read| random.values(elements(read.shape))).collect();
    let range = |operand: &Operand| {
        let (start, end) = operand.range().unwrap();
        start..end
    };
    for (read, values) in step.reads.iter().zip(&values) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        arena.0[range(read)].copy_from_slice(&bytes);
    }
    let memory = &mut Memory { constant: &[], elsewhere: &mut OtherSpaces::empty(), arena: &mut arena.0 };
    run::<AllOperators>(step.step(), memory).unwrap();
    let written = typed::<f32>(&arena.0[range(&step.writes[0])]).unwrap().to_vec();
    (values, written)
}

#[test]
fn steps_run_what_the_functions_compute() {
    for seed in 0..40 {
        for kind in common::KINDS {
            let mut random = Random(seed);
            let layer = Layer::random(kind, 8, &mut random);
            let [forward, grad_input, grad_weights, grad_bias] = steps(&layer, Activation::Relu);
            for step in [&forward, &grad_input, &grad_weights, &grad_bias] {
                assert_eq!(checked(step), Ok(()), "{layer:?}");
            }
            let (reads, found) = run_on_random(&forward, &mut random);
            let sums = layer.forward_f32(&reads[0], &reads[1], Some(&reads[2]));
            assert_eq!(found, sums.into_iter().map(|x| x.max(0.0)).collect::<Vec<_>>());
            let (reads, found) = run_on_random(&grad_input, &mut random);
            assert_eq!(found, layer.grad_input_f32(&reads[0], &reads[1]));
            let (reads, found) = run_on_random(&grad_weights, &mut random);
            assert_eq!(found, layer.grad_weights_f32(&reads[0], &reads[1]));
            run_on_random(&grad_bias, &mut random);
            let mut without_bias = forward.clone();
            without_bias.reads.truncate(2);
            assert_eq!(checked(&without_bias), Ok(()));
            let (reads, found) = run_on_random(&without_bias, &mut random);
            let sums = layer.forward_f32(&reads[0], &reads[1], None);
            assert_eq!(found, sums.into_iter().map(|x| x.max(0.0)).collect::<Vec<_>>());
        }
    }
}

/// The error of a step after `spoil` has changed it.
fn error_of(step: &NewStep, spoil: impl FnOnce(&mut NewStep)) -> StepError {
    let mut step = step.clone();
    spoil(&mut step);
    checked(&step).unwrap_err()
}

#[test]
fn wrong_operands_are_rejected() {
    for kind in common::KINDS {
        let layer = Layer::random(kind, 8, &mut Random(7));
        for step in &steps(&layer, Activation::None) {
            let (reads, writes) = (step.reads.len() as u8, step.writes.len() as u8);
            let found = error_of(step, |step| step.reads.truncate(1 - usize::from(reads == 1)));
            assert!(matches!(found, StepError::ReadCount { .. }), "{found:?}");
            let found = error_of(step, |step| {
                let extra = step.reads[0];
                step.reads.push(extra).unwrap();
            });
            assert!(matches!(found, StepError::ReadCount { .. }), "{found:?}");
            let found = error_of(step, |step| step.writes.clear());
            assert_eq!(found, StepError::WriteCount { expected: 1, found: 0 });
            let found = error_of(step, |step| step.attributes.push(0).unwrap());
            assert!(matches!(found, StepError::AttributeCount { .. }), "{found:?}");
            if !step.attributes.is_empty() {
                let found = error_of(step, |step| {
                    step.attributes.pop();
                });
                assert!(matches!(found, StepError::AttributeCount { .. }), "{found:?}");
            }
            for operand in 0..reads + writes {
                let at = |step: &mut NewStep, change: &dyn Fn(&mut Operand)| match usize::from(operand) {
                    index if operand < reads => change(&mut step.reads[index]),
                    index => change(&mut step.writes[index - usize::from(reads)]),
                };
                let found = error_of(step, |step| at(step, &|o| o.element_type = ElementType::I32));
                assert_eq!(found, StepError::ElementType { operand });
                // Two shapes that differ may each be the wrong one; a zero or a number too large never fits.
                for dimension in 0..4 {
                    for value in [0, 1 << 20, u32::MAX] {
                        // A bias gradient takes any number of pixels.
                        if step.operator == Operator::GradBias as u8 && dimension < 3 && value == 1 << 20 {
                            continue;
                        }
                        // What no tap of a transposed convolution reaches is bias.
                        let shape = step.step().operands().nth(usize::from(operand)).unwrap().shape;
                        let may_grow = kind == Kind::Transposed && shape == layer.output;
                        if may_grow && [1, 2].contains(&dimension) && value == 1 << 20 {
                            continue;
                        }
                        let found = error_of(step, |step| at(step, &|o| o.shape.0[dimension] = value));
                        assert!(matches!(found, StepError::Shape { .. }), "{found:?}, {operand} {dimension}");
                    }
                }
            }
        }
    }
}

#[test]
fn wrong_attributes_are_rejected() {
    for kind in [Kind::Convolution, Kind::Depthwise] {
        // With one row of outputs any stride would do.
        let layers = (3..).map(|seed| Layer::random(kind, 8, &mut Random(seed)));
        let layer = layers.into_iter().find(|layer| layer.output.0[1] > 1).unwrap();
        let [forward, grad_input, grad_weights, _] = steps(&layer, Activation::None);
        for step in [&forward, &grad_input, &grad_weights] {
            for index in [0, 1, 2, 3, 8, 9] {
                for value in [0, -1] {
                    let found = error_of(step, |step| step.attributes[usize::from(index)] = value);
                    assert_eq!(found, StepError::ZeroWindow { index });
                }
            }
            for index in 4..8u8 {
                for found in [-1, 1000, i32::MAX] {
                    let error = error_of(step, |step| step.attributes[usize::from(index)] = found);
                    assert_eq!(error, StepError::Attribute { index, found });
                }
            }
            // A kernel that is not the filter's, a stride that leaves other outputs.
            let error = error_of(step, |step| step.attributes[0] += 1);
            assert!(matches!(error, StepError::Shape { .. }), "{error:?}");
            let error = error_of(step, |step| step.attributes[2] = i32::MAX);
            assert!(matches!(error, StepError::Shape { .. }), "{error:?}");
        }
        let error = error_of(&forward, |step| step.attributes[10] = 9);
        assert_eq!(error, StepError::Attribute { index: 10, found: 9 });
    }
    let layer = Layer::random(Kind::FullyConnected, 8, &mut Random(3));
    let [forward, ..] = steps(&layer, Activation::None);
    let error = error_of(&forward, |step| step.attributes[0] = 9);
    assert_eq!(error, StepError::Attribute { index: 0, found: 9 });
}

/// The last padding, stride and dilation of the public functions' parameters do not come from checked attributes.
#[test]
fn calls_that_do_not_fit_are_errors() {
    use smidgen::geometry::{Axis, Window};
    use smidgen::ops::conv_2d::{Conv2d, forward};
    use smidgen::{CallError, Tensor};
    let good = Conv2d {
        input: Shape([1, 3, 3, 2]),
        filter: Shape([2, 2, 2, 1]),
        output: Shape([1, 2, 2, 1]),
        window: Window { y: Axis { kernel: 2, ..Axis::ONE }, x: Axis { kernel: 2, ..Axis::ONE } },
        activation: Activation::None,
    };
    let call = |params: &Conv2d, input: usize, filter: usize, bias: usize, output: usize| {
        forward(params, &vec![0.0; input], &vec![0.0; filter], Some(&vec![0.0; bias]), &mut vec![0.0; output])
    };
    assert_eq!(call(&good, 18, 8, 1, 4), Ok(()));
    let length = |tensor, expected, found| Err(CallError::Length { tensor, expected, found });
    assert_eq!(call(&good, 17, 8, 1, 4), length(Tensor::Input, 18, 17));
    assert_eq!(call(&good, 18, 9, 1, 4), length(Tensor::Filter, 8, 9));
    assert_eq!(call(&good, 18, 8, 2, 4), length(Tensor::Bias, 1, 2));
    assert_eq!(call(&good, 18, 8, 1, 3), length(Tensor::Output, 4, 3));
    let shape = |params: Conv2d| call(&params, 18, 8, 1, 4);
    let wrong = |tensor| Err(CallError::Shape { tensor });
    assert_eq!(shape(Conv2d { input: Shape([0, 3, 3, 2]), ..good }), wrong(Tensor::Input));
    assert_eq!(shape(Conv2d { input: Shape([u32::MAX; 4]), ..good }), wrong(Tensor::Input));
    assert_eq!(shape(Conv2d { filter: Shape([2, 2, 1, 1]), ..good }), wrong(Tensor::Filter));
    assert_eq!(shape(Conv2d { filter: Shape([2, 2, 2, u32::MAX]), ..good }), wrong(Tensor::Filter));
    assert_eq!(shape(Conv2d { output: Shape([2, 2, 2, 1]), ..good }), wrong(Tensor::Output));
    for spoil in [
        Axis { stride: 0, ..good.window.y },
        Axis { dilation: 0, ..good.window.y },
        Axis { kernel: 0, ..good.window.y },
        Axis { kernel: usize::MAX, ..good.window.y },
        Axis { pad_before: usize::MAX, ..good.window.y },
    ] {
        let window = Window { y: spoil, ..good.window };
        assert!(matches!(shape(Conv2d { window, ..good }), Err(CallError::Shape { .. })), "{spoil:?}");
    }
}
