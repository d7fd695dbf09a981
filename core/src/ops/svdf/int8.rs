//! SVDF with TensorFlow Lite Micro's int8 arithmetic. The state and the time weights are int16, or int8.

use bytemuck::{AnyBitPattern, NoUninit};

use super::float::wrong;
use super::{Sizes, Wrong, remember};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Quantization, Shape};
use crate::ops::call::{CallError, Tensor, holds, unchecked};
use crate::ops::int8::constant_bytes;
use crate::ops::operands::{has_shape, is, quantization};
use crate::quantization::{Multiplier, requantize};
use crate::step::{Step, StepError};

/// How many attributes an [`SvdfI8`] takes.
pub const ATTRIBUTES: usize = 4;

/// Shapes and parameters of an int8 SVDF.
///
/// Attributes, in order: multiplier and shift of `feature`, of `output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SvdfI8 {
    /// `[N, H, W, C_in]`.
    pub input: Shape,
    /// Of the time weights, `[1, 1, filters, memory]`.
    pub time: Shape,
    /// `[N, H, W, units]`.
    pub output: Shape,
    /// From a weighted sum of inputs to the state's scale.
    pub feature_factor: Multiplier,
    /// From a unit's sum to the output's scale.
    pub output_factor: Multiplier,
    /// Zero points of input, state and output.
    pub zero_points: [i32; 3],
}

impl SvdfI8 {
    /// The two factors for these scales, as TensorFlow Lite Micro's `Prepare` has them: products and quotients of the scales are f32. `None` if one has no multiplier.
    pub fn factors(
        input: Quantization,
        feature_scale: f32,
        state: Quantization,
        time_scale: f32,
        output: Quantization,
    ) -> Option<[Multiplier; 2]> {
        let feature = Multiplier::from_real((input.scale * feature_scale / state.scale).into())?;
        let output = Multiplier::from_real((state.scale * time_scale / output.scale).into())?;
        Some([feature, output])
    }

    /// The attributes of a step.
    pub fn attributes(&self) -> [i32; ATTRIBUTES] {
        let (feature, output) = (self.feature_factor, self.output_factor);
        [feature.multiplier, feature.shift, output.multiplier, output.shift]
    }

    fn read(step: Step<'_>) -> Result<Self, StepError> {
        let ([input, _, time, _], [output, state]) = (step.reads()?, step.writes()?);
        let &[feature, feature_shift, factor, factor_shift] = step.attributes::<ATTRIBUTES>()?;
        let zero_points = [quantization(input, 0)?, quantization(state, 5)?, quantization(output, 4)?];
        let valid = |multiplier, shift, index| {
            let found = Multiplier { multiplier, shift };
            let error = StepError::Attribute { index, found: multiplier };
            found.is_valid().then_some(found).ok_or(error)
        };
        Ok(Self {
            input: input.shape,
            time: time.shape,
            output: output.shape,
            feature_factor: valid(feature, feature_shift, 0)?,
            output_factor: valid(factor, factor_shift, 2)?,
            zero_points: zero_points.map(|quantization| quantization.zero_point),
        })
    }
}

/// What a state can be made of: int8 or int16.
pub trait Remembered: Copy + Into<i32> + AnyBitPattern + NoUninit {
    /// `value`, saturated.
    fn saturated(value: i32) -> Self;
}

impl Remembered for i8 {
    fn saturated(value: i32) -> Self {
        value.max(Self::MIN.into()).min(Self::MAX.into()) as Self
    }
}

impl Remembered for i16 {
    fn saturated(value: i32) -> Self {
        value.max(Self::MIN.into()).min(Self::MAX.into()) as Self
    }
}

/// One step of time for each sample. `feature` is `[filters, 1, 1, C_in]`, `time` `[1, 1, filters, memory]`, `bias` `[1, 1, 1, units]` in units of the
/// state's scale times the time weights'; `state` `[1, 1, H * W, filters * memory]` is read and written.
///
/// A feature's sum is exact if `255 * sum(|weight|)` is at most `i32::MAX`, else it wraps. A unit's sum has 64 bits and is saturated to 32. (TensorFlow Lite Micro's has 32, and what
/// it does beyond them is not defined.)
///
/// # Errors
/// [`CallError`] if the shapes do not fit each other or a slice does not fit its shape; weights go by the name of [`Tensor::Filter`], the state by that of [`Tensor::Output`].
pub fn forward<T: Remembered>(
    params: &SvdfI8,
    input: &[i8],
    (feature, time): (&[i8], &[T]),
    bias: &[i32],
    output: &mut [i8],
    state: &mut [T],
) -> Result<(), CallError> {
    let sizes = Sizes::new(params.input, params.output, params.time).map_err(|wrong| CallError::Shape {
        tensor: match wrong {
            Wrong::Input => Tensor::Input,
            Wrong::Output => Tensor::Output,
            Wrong::Time => Tensor::Filter,
        },
    })?;
    let Sizes { batch, inputs, units, filters, memory } = sizes;
    holds(Tensor::Input, params.input, input.len())?;
    holds(Tensor::Filter, Shape([filters as u32, 1, 1, inputs as u32]), feature.len())?;
    holds(Tensor::Filter, params.time, time.len())?;
    holds(Tensor::Bias, Shape::vector(units as u32), bias.len())?;
    holds(Tensor::Output, params.output, output.len())?;
    holds(Tensor::Output, sizes.state(), state.len())?;
    let [input_zero, state_zero, output_zero] = params.zero_points;
    let samples = input.chunks_exact((batch * inputs).max(1));
    for (input, output) in samples.zip(output.chunks_exact_mut((batch * units).max(1))) {
        let rows = input.chunks_exact(inputs.max(1)).zip(output.chunks_exact_mut(units.max(1)));
        for ((input, output), state) in rows.zip(state.chunks_exact_mut((filters * memory).max(1))) {
            let weights = feature.chunks_exact(inputs.max(1));
            for (remembered, weights) in state.chunks_exact_mut(memory.max(1)).zip(weights) {
                let sum = input.iter().zip(weights).fold(0i32, |sum, (&x, &weight)| {
                    sum.wrapping_add((i32::from(x) - input_zero) * i32::from(weight))
                });
                remember(
                    remembered,
                    T::saturated(params.feature_factor.apply(sum).saturating_add(state_zero)),
                );
            }
            let parts = state.chunks_exact(memory.max(1)).zip(time.chunks_exact(memory.max(1)));
            // Each product has at most 32 bits and there are fewer than 2^31 of them.
            let mut parts = parts.map(|(remembered, weights)| {
                let products = remembered.iter().zip(weights);
                products.fold(0i64, |sum, (&x, &weight)| {
                    let (x, weight): (i32, i32) = (x.into(), weight.into());
                    sum.wrapping_add(i64::from(x - state_zero) * i64::from(weight))
                })
            });
            let rank = filters.checked_div(units).unwrap_or_default();
            for (output, &bias) in output.iter_mut().zip(bias) {
                let sum = parts.by_ref().take(rank).fold(i64::from(bias), i64::wrapping_add);
                let sum = sum.max(i32::MIN.into()).min(i32::MAX.into()) as i32;
                *output = requantize(sum, params.output_factor, output_zero, -128, 127);
            }
        }
    }
    Ok(())
}

/// The step's operands are input, feature weights, time weights and bias; output and state.
pub(in crate::ops) fn check(step: Step<'_>, constant: &[u8]) -> Result<(), StepError> {
    let params = SvdfI8::read(step)?;
    let ([input, feature, time, bias], [output, state]) = (step.reads()?, step.writes()?);
    for (index, operand) in [(0, input), (1, feature), (4, output)] {
        is(operand, index, ElementType::I8)?;
    }
    is(bias, 3, ElementType::I32)?;
    if !matches!(time.element_type, ElementType::I8 | ElementType::I16) {
        return Err(StepError::ElementType { operand: 2 });
    }
    is(state, 5, time.element_type)?;
    let sizes = Sizes::new(params.input, params.output, params.time).map_err(wrong)?;
    has_shape(feature, 1, Shape([sizes.filters as u32, 1, 1, sizes.inputs as u32]))?;
    has_shape(bias, 3, Shape::vector(sizes.units as u32))?;
    has_shape(state, 5, sizes.state())?;
    let weights = elements::<i8>(constant_bytes(feature, 1, constant)?)?;
    for (filter, weights) in weights.chunks_exact(sizes.inputs.max(1)).enumerate() {
        let sum: u64 = weights.iter().map(|weight| u64::from(weight.unsigned_abs())).sum();
        if 255 * sum > i32::MAX as u64 {
            return Err(StepError::Accumulator { channel: filter as u32 });
        }
    }
    Ok(())
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([_, _, time, _], _) = (step.reads::<4>()?, step.writes::<2>()?);
    match time.element_type {
        ElementType::I16 => run_with::<i16>(step, memory),
        _ => run_with::<i8>(step, memory),
    }
}

fn run_with<T: Remembered>(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let params = SvdfI8::read(step)?;
    let ([input, feature, time, bias], [output, state]) = (step.reads()?, step.writes()?);
    let Views { reads: [input, feature, time, bias], writes: [output, state] } =
        memory.views([input, feature, time, bias], [output, state])?;
    let weights = (elements(feature)?, elements::<T>(time)?);
    let (output, state) = (elements_mut(output)?, elements_mut(state)?);
    forward(&params, elements(input)?, weights, elements(bias)?, output, state).map_err(unchecked)
}
