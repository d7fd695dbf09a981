//! SVDF in f32.

use super::{Sizes, Wrong, remember};
use crate::kernels::fma;
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Shape};
use crate::ops::activation::Activation;
use crate::ops::call::{CallError, Tensor, holds, unchecked};
use crate::ops::operands::{all_are, has_shape};
use crate::ops::weighted::nothing_more;
use crate::step::{Step, StepError};

/// Shapes and parameters of an SVDF in f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Svdf {
    /// `[N, H, W, C_in]`.
    pub input: Shape,
    /// Of the time weights, `[1, 1, filters, memory]`.
    pub time: Shape,
    /// `[N, H, W, units]`.
    pub output: Shape,
    /// Applied to each output.
    pub activation: Activation,
}

impl Svdf {
    fn sizes(&self) -> Result<Sizes, CallError> {
        Sizes::new(self.input, self.output, self.time).map_err(|wrong| CallError::Shape {
            tensor: match wrong {
                Wrong::Input => Tensor::Input,
                Wrong::Output => Tensor::Output,
                Wrong::Time => Tensor::Filter,
            },
        })
    }
}

/// One step of time for each sample. `feature` is `[1, 1, C_in, filters]`, `time` `[1, 1, filters, memory]`, `bias` `[1, 1, 1, units]`, `state`
/// `[1, 1, H * W, filters * memory]`, read and written.
///
/// Chains: a feature is from 0 `fma(input, weight, sum)` over `in_c` ascending; a filter's part from 0 `fma(weight, remembered, sum)`, the oldest first; an output its
/// bias plus its filters' parts, ascending.
///
/// # Errors
/// [`CallError`] if the shapes do not fit each other or a slice does not fit its shape; weights go by the name of [`Tensor::Filter`], the state by that of [`Tensor::Output`].
pub fn forward(
    params: &Svdf,
    input: &[f32],
    (feature, time): (&[f32], &[f32]),
    bias: &[f32],
    output: &mut [f32],
    state: &mut [f32],
) -> Result<(), CallError> {
    let sizes = params.sizes()?;
    let Sizes { batch, inputs, units, filters, memory } = sizes;
    holds(Tensor::Input, params.input, input.len())?;
    holds(Tensor::Filter, Shape([1, 1, inputs as u32, filters as u32]), feature.len())?;
    holds(Tensor::Filter, params.time, time.len())?;
    holds(Tensor::Bias, Shape::vector(units as u32), bias.len())?;
    holds(Tensor::Output, params.output, output.len())?;
    holds(Tensor::Output, sizes.state(), state.len())?;
    let samples = input.chunks_exact((batch * inputs).max(1));
    for (input, output) in samples.zip(output.chunks_exact_mut((batch * units).max(1))) {
        let rows = input.chunks_exact(inputs.max(1)).zip(output.chunks_exact_mut(units.max(1)));
        for ((input, output), state) in rows.zip(state.chunks_exact_mut((filters * memory).max(1))) {
            for (filter, remembered) in state.chunks_exact_mut(memory.max(1)).enumerate() {
                let weights = feature.iter().skip(filter).step_by(filters.max(1));
                let newest = input.iter().zip(weights).fold(0.0, |sum, (&x, &weight)| fma(x, weight, sum));
                remember(remembered, newest);
            }
            let parts = state.chunks_exact(memory.max(1)).zip(time.chunks_exact(memory.max(1)));
            let mut parts = parts.map(|(remembered, weights)| {
                remembered.iter().zip(weights).fold(0.0, |sum, (&x, &weight)| fma(weight, x, sum))
            });
            let rank = filters.checked_div(units).unwrap_or_default();
            for (output, &bias) in output.iter_mut().zip(bias) {
                *output =
                    params.activation.apply(parts.by_ref().take(rank).fold(bias, |sum, part| sum + part));
            }
        }
    }
    Ok(())
}

fn params(step: Step<'_>) -> Result<Svdf, StepError> {
    let ([input, _, time, _], [output, _]) = (step.reads()?, step.writes()?);
    let (activation, rest) = Activation::read(step.attributes, 0)?;
    nothing_more(step.attributes, rest)?;
    Ok(Svdf { input: input.shape, time: time.shape, output: output.shape, activation })
}

/// The step's operands are input, feature weights, time weights and bias; output and state.
pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let params = params(step)?;
    let ([_, feature, _, bias], [_, state]) = (step.reads()?, step.writes()?);
    all_are(step, ElementType::F32)?;
    let sizes = Sizes::new(params.input, params.output, params.time).map_err(wrong)?;
    has_shape(feature, 1, Shape([1, 1, sizes.inputs as u32, sizes.filters as u32]))?;
    has_shape(bias, 3, Shape::vector(sizes.units as u32))?;
    has_shape(state, 5, sizes.state())
}

/// The operand of a shape that does not fit.
pub(super) fn wrong(wrong: Wrong) -> StepError {
    let operand = match wrong {
        Wrong::Input => 0,
        Wrong::Time => 2,
        Wrong::Output => 4,
    };
    StepError::Shape { operand }
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let params = params(step)?;
    let ([input, feature, time, bias], [output, state]) = (step.reads()?, step.writes()?);
    let Views { reads: [input, feature, time, bias], writes: [output, state] } =
        memory.views([input, feature, time, bias], [output, state])?;
    let (output, state) = (elements_mut(output)?, elements_mut(state)?);
    forward(&params, elements(input)?, (elements(feature)?, elements(time)?), elements(bias)?, output, state)
        .map_err(unchecked)
}
