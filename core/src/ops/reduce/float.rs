//! f32 reductions and their gradients.

use super::{Params, Taken, fold, store};
use crate::kernels::isa::{Kernel, dispatch};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand};
use crate::ops::operands::{all_are, has_shape};
use crate::step::{Step, StepError};

/// What is computed of the elements that make one output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reduction {
    /// Their sum, from 0.
    Sum = 0,
    /// Their sum divided by their number.
    Mean = 1,
    /// The largest; NaNs are passed over, and nothing is smaller than the smallest finite number.
    Max = 2,
    /// The smallest; NaNs are passed over, and nothing is larger than the largest finite number.
    Min = 3,
}

impl Reduction {
    fn read(found: i32, index: u8) -> Result<Self, StepError> {
        let all = [Self::Sum, Self::Mean, Self::Max, Self::Min];
        let wanted = |reduction: &Self| *reduction as i32 == found;
        all.into_iter().find(wanted).ok_or(StepError::Attribute { index, found })
    }

    /// Whether it is a maximum or a minimum.
    pub const fn is_extreme(self) -> bool {
        matches!(self, Self::Max | Self::Min)
    }
}

struct Forward<'a> {
    reduction: Reduction,
    params: &'a Params,
    input: &'a [f32],
    output: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    #[inline(always)]
    fn run<const WIDE: usize, const TILE: usize>(self) {
        let Self { reduction, params, input, output } = self;
        let (in_length, out_length) = params.lengths();
        for (input, output) in input.chunks_exact(in_length).zip(output.chunks_exact_mut(out_length)) {
            let mut store = store(output);
            let sum = |sum: f32, element: f32, _| sum + element;
            match reduction {
                Reduction::Sum => fold::<WIDE, _, _>(params, input, 0.0, sum, store),
                Reduction::Mean => {
                    let count = params.count() as f32;
                    fold::<WIDE, _, _>(params, input, 0.0, sum, |sum| store(sum / count));
                }
                Reduction::Max => {
                    let larger = |most: f32, element: f32, _| if element > most { element } else { most };
                    fold::<WIDE, _, _>(params, input, f32::MIN, larger, store);
                }
                Reduction::Min => {
                    let smaller = |least: f32, element: f32, _| if element < least { element } else { least };
                    fold::<WIDE, _, _>(params, input, f32::MAX, smaller, store);
                }
            }
        }
    }
}

/// Reduces every sample of `input`, in the order and from the first values of TensorFlow Lite Micro's `Reduce`.
pub fn forward(reduction: Reduction, params: &Params, input: &[f32], output: &mut [f32]) {
    dispatch(Forward { reduction, params, input, output });
}

/// Gradient of [`forward`] for a sum or a mean: every element gets its output's gradient, divided by the number of elements for a mean.
/// `grad_input` is overwritten.
pub fn backward_sum(reduction: Reduction, params: &Params, grad_output: &[f32], grad_input: &mut [f32]) {
    let (in_length, out_length) = params.lengths();
    let ([_, w, c], [_, out_w, out_c]) = (params.input, params.output());
    let [over_y, over_x, over_c] = params.axes;
    let count = if reduction == Reduction::Mean { params.count() as f32 } else { 1.0 };
    for (grads, sample) in grad_output.chunks_exact(out_length).zip(grad_input.chunks_exact_mut(in_length)) {
        for (y, row) in sample.chunks_exact_mut((w * c).max(1)).enumerate() {
            for (x, pixel) in row.chunks_exact_mut(c.max(1)).enumerate() {
                let from = (if over_y { 0 } else { y * out_w } + if over_x { 0 } else { x }) * out_c;
                let grads = grads.get(from..from + out_c).unwrap_or_default();
                if over_c {
                    let grad = grads.first().copied().unwrap_or_default() / count;
                    pixel.fill(grad);
                } else {
                    pixel.iter_mut().zip(grads).for_each(|(element, &grad)| *element = grad / count);
                }
            }
        }
    }
}

/// Gradient of [`forward`] for a maximum or a minimum: an output's gradient goes to the first of its elements that is the extreme, all
/// others get 0. `grad_input` is overwritten.
pub fn backward_extreme(
    reduction: Reduction,
    params: &Params,
    input: &[f32],
    grad_output: &[f32],
    grad_input: &mut [f32],
) {
    let (in_length, out_length) = params.lengths();
    grad_input.fill(0.0);
    let samples = input.chunks_exact(in_length).zip(grad_output.chunks_exact(out_length));
    for ((input, grads), grad_input) in samples.zip(grad_input.chunks_exact_mut(in_length)) {
        let mut grads = grads.iter();
        let minimum = reduction == Reduction::Min;
        let first = (if minimum { f32::MAX } else { f32::MIN }, usize::MAX);
        let better = |(best, place): (f32, usize), element: f32, taken: Taken| {
            let is_better = if minimum { element < best } else { element > best };
            if is_better { (element, taken.place) } else { (best, place) }
        };
        fold::<1, _, _>(params, input, first, better, |(_, place)| {
            let grad = grads.next().copied().unwrap_or_default();
            if let Some(element) = grad_input.get_mut(place) {
                *element = grad;
            }
        });
    }
}

/// The reduction and its parameters of a step that reduces `input` to `output`, each with its index.
fn read(
    step: Step<'_>,
    input: (&Operand, u8),
    output: (&Operand, u8),
) -> Result<(Reduction, Params), StepError> {
    let &[reduction, mask] = step.attributes()?;
    Ok((Reduction::read(reduction, 0)?, Params::read(mask, 1, input, output)?))
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    all_are(step, ElementType::F32)?;
    read(step, (input, 0), (output, 1)).map(|_| ())
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    let (reduction, params) = read(step, (input, 0), (output, 1))?;
    let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
    forward(reduction, &params, elements(input)?, elements_mut(output)?);
    Ok(())
}

pub(in crate::ops) fn check_grad(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([grad_output], [grad_input]) = (step.reads()?, step.writes()?);
    all_are(step, ElementType::F32)?;
    match read(step, (grad_input, 1), (grad_output, 0))? {
        (reduction, _) if reduction.is_extreme() => {
            Err(StepError::Attribute { index: 0, found: reduction as i32 })
        }
        _ => Ok(()),
    }
}

pub(in crate::ops) fn run_grad(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([grad_output], [grad_input]) = (step.reads()?, step.writes()?);
    let (reduction, params) = read(step, (grad_input, 1), (grad_output, 0))?;
    let Views { reads: [grad_output], writes: [grad_input] } = memory.views([grad_output], [grad_input])?;
    backward_sum(reduction, &params, elements(grad_output)?, elements_mut(grad_input)?);
    Ok(())
}

pub(in crate::ops) fn check_grad_extreme(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([input, grad_output], [grad_input]) = (step.reads()?, step.writes()?);
    all_are(step, ElementType::F32)?;
    has_shape(grad_input, 2, input.shape)?;
    match read(step, (input, 0), (grad_output, 1))? {
        (reduction, _) if reduction.is_extreme() => Ok(()),
        (reduction, _) => Err(StepError::Attribute { index: 0, found: reduction as i32 }),
    }
}

pub(in crate::ops) fn run_grad_extreme(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input, grad_output], [grad_input]) = (step.reads()?, step.writes()?);
    let (reduction, params) = read(step, (input, 0), (grad_output, 1))?;
    let Views { reads: [input, grad_output], writes: [grad_input] } =
        memory.views([input, grad_output], [grad_input])?;
    let (input, grad_output) = (elements(input)?, elements(grad_output)?);
    backward_extreme(reduction, &params, input, grad_output, elements_mut(grad_input)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::super::reference::{all_axes, places};
    use super::*;
    use crate::ops::Operator;
    use crate::ops::test_support::{
        Random, assert_close, changed, dot, in_arena, numeric_gradient, run_in_arena, step, wide,
    };

    /// Roundings of 6e-8 in sums of at most some hundred values below 1.
    const TOLERANCE: f64 = 1e-5;

    const ALL: [Reduction; 4] = [Reduction::Sum, Reduction::Mean, Reduction::Max, Reduction::Min];

    fn reference(reduction: Reduction, params: &Params, input: &[f64]) -> Vec<f64> {
        let length = params.lengths().0;
        let of = |values: Vec<f64>| match reduction {
            Reduction::Sum => values.iter().sum::<f64>(),
            Reduction::Mean => values.iter().sum::<f64>() / values.len() as f64,
            Reduction::Max => values.into_iter().fold(f64::NEG_INFINITY, f64::max),
            Reduction::Min => values.into_iter().fold(f64::INFINITY, f64::min),
        };
        input
            .chunks_exact(length)
            .flat_map(|input| {
                places(params).into_iter().map(|places| of(places.into_iter().map(|i| input[i]).collect()))
            })
            .collect()
    }

    fn problems() -> impl Iterator<Item = (Reduction, Params, usize)> {
        let mut random = Random(41);
        ALL.into_iter().flat_map(|reduction| all_axes().map(move |axes| (reduction, axes))).flat_map(
            move |(reduction, axes)| {
                [(); 5].map(|()| {
                    let input = [random.integer(1, 4), random.integer(1, 5), random.integer(1, 37)];
                    (reduction, Params { input, axes }, random.integer(1, 2))
                })
            },
        )
    }

    fn run(
        operator: Operator,
        attributes: [i32; 2],
        reads: &[([usize; 4], &[f32])],
        write: [usize; 4],
    ) -> Vec<f32> {
        let (mut arena, mut operands) = (vec![], vec![]);
        for &(shape, values) in reads {
            operands.push(in_arena(arena.len(), shape));
            arena.extend_from_slice(values);
        }
        let (output, length) = (in_arena(arena.len(), write), write.iter().product::<usize>());
        arena.resize(arena.len() + length, f32::NAN);
        run_in_arena(&step(operator as u8, &attributes, &operands, &[output]), &mut arena);
        arena.split_off(arena.len() - length)
    }

    #[test]
    fn outputs_and_gradients_are_those_of_the_definition() {
        let mut random = Random(42);
        for (reduction, params, n) in problems() {
            let ([h, w, c], [out_h, out_w, out_c]) = (params.input, params.output());
            let (from, to) = ([n, h, w, c], [n, out_h, out_w, out_c]);
            let x = random.values(n * h * w * c);
            let attributes = [reduction as i32, params.mask()];
            let found = run(Operator::Reduce, attributes, &[(from, &x)], to);
            assert_close("output", &found, &reference(reduction, &params, &wide(&x)), TOLERANCE);

            let g = random.values(found.len());
            let loss = |x: &[f64]| dot(&g, &reference(reduction, &params, x));
            let expected = numeric_gradient(&x, loss);
            let found = if reduction.is_extreme() {
                run(Operator::ReduceExtremeGrad, attributes, &[(from, &x), (to, &g)], from)
            } else {
                run(Operator::ReduceGrad, attributes, &[(to, &g)], from)
            };
            assert_close("grad_input", &found, &expected, TOLERANCE);
        }
    }

    #[test]
    fn sums_are_sequential_in_row_major_order() {
        // 1 is lost beside 1e8, so that only this order gives 1.
        let params = Params { input: [2, 1, 2], axes: [true, false, true] };
        let mut sum = [0.0];
        forward(Reduction::Sum, &params, &[1e8, 1.0, -1e8, 1.0], &mut sum);
        assert_eq!(sum, [1.0]);
    }

    #[test]
    fn extremes_of_no_number_and_of_equals() {
        let params = Params { input: [3, 1, 1], axes: [true, false, false] };
        let extreme = |reduction, input: [f32; 3]| {
            let mut output = [0.0];
            forward(reduction, &params, &input, &mut output);
            output[0]
        };
        assert_eq!(extreme(Reduction::Max, [f32::NAN, 1.0, 2.0]), 2.0);
        assert_eq!(extreme(Reduction::Min, [2.0, f32::NAN, 1.0]), 1.0);
        assert_eq!(extreme(Reduction::Max, [f32::NEG_INFINITY; 3]), f32::MIN);
        let mut grad = [f32::NAN; 3];
        backward_extreme(Reduction::Max, &params, &[1.0, 5.0, 5.0], &[2.0], &mut grad);
        assert_eq!(grad, [0.0, 2.0, 0.0]);
        backward_extreme(Reduction::Min, &params, &[1.0, 5.0, 1.0], &[2.0], &mut grad);
        assert_eq!(grad, [2.0, 0.0, 0.0]);
    }

    #[test]
    fn check_says_what_is_wrong() {
        let (input, output) = (in_arena(0, [2, 3, 1, 4]), in_arena(64, [2, 1, 1, 4]));
        let sum = step(Operator::Reduce as u8, &[0, 3], &[input], &[output]);
        assert_eq!(changed(&sum, |_| ()), Ok(()));
        let wrong = |index, found| Err(StepError::Attribute { index, found });
        for found in [-1, 4] {
            assert_eq!(changed(&sum, |step| step.attributes[0] = found), wrong(0, found));
        }
        for found in [0, 8] {
            assert_eq!(changed(&sum, |step| step.attributes[1] = found), wrong(1, found));
        }
        let shape = |operand| Err(StepError::Shape { operand });
        assert_eq!(changed(&sum, |step| step.attributes[1] = 4), shape(1));
        assert_eq!(changed(&sum, |step| step.writes[0].shape.0[0] = 1), shape(1));
        assert_eq!(changed(&sum, |step| step.reads[0].shape.0[1] = 0), shape(0));
        let integers = changed(&sum, |step| step.writes[0].element_type = ElementType::I32);
        assert_eq!(integers, Err(StepError::ElementType { operand: 1 }));

        let grad = step(Operator::ReduceGrad as u8, &[1, 3], &[output], &[input]);
        assert_eq!(changed(&grad, |_| ()), Ok(()));
        assert_eq!(changed(&grad, |step| step.attributes[0] = 2), wrong(0, 2));
        assert_eq!(changed(&grad, |step| step.writes[0].shape.0[3] = 5), shape(0));
        let grad =
            step(Operator::ReduceExtremeGrad as u8, &[2, 3], &[input, output], &[in_arena(96, [2, 3, 1, 4])]);
        assert_eq!(changed(&grad, |_| ()), Ok(()));
        assert_eq!(changed(&grad, |step| step.attributes[0] = 1), wrong(0, 1));
        assert_eq!(changed(&grad, |step| step.writes[0].shape.0[3] = 5), shape(2));
        assert_eq!(changed(&grad, |step| step.reads[1].shape.0[3] = 5), shape(1));
    }
}
