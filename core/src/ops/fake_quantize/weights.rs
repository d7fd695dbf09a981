//! Fake quantization of weights: symmetric, one scale per output channel, from the weights themselves.

use super::round;
use crate::kernels::channels::{columns, columns_mut, for_each_block};
use crate::kernels::each_isa::each_isa;
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Shape};
use crate::ops::operands::{all_are, flag, has_shape};
use crate::step::{Step, StepError};

/// The greatest weight in int8: -128 is not used.
const GREATEST: f32 = 127.0;
/// A channel whose weights are all smaller counts as all zero: its scale would not be a normal number.
const LEAST_WEIGHT: f32 = GREATEST * f32::MIN_POSITIVE;

/// `output = scale * round(weights / scale)` with `scale = max |weights| / 127` of each output channel: what is left of a filter in int8. A channel in
/// which there is NaN becomes NaN. Both are `[K_h, K_w, C_in, C_out]`, in rows of `channels` elements.
///
/// A batch norm behind the layer changes nothing: folding it multiplies all weights of a channel by one factor, and the scale with them.
pub fn forward(channels: usize, weights: &[f32], output: &mut [f32]) {
    forward_kernel(channels, weights, output);
}

each_isa! {
    fn forward_kernel<WIDE>(channels: usize, weights: &'a [f32], output: &'a mut [f32]) {
        if channels > 0 {
            for_each_block!(WIDE, channels, block(channels, weights, output));
        }
    }
}

#[inline(always)]
fn block<const W: usize>(first: usize, channels: usize, weights: &[f32], output: &mut [f32]) {
    let mut largest = [0.0f32; W];
    for row in weights.chunks_exact(channels.max(1)) {
        let Some(row) = columns::<W>(row, first) else { return };
        for (largest, &weight) in largest.iter_mut().zip(row) {
            *largest = greater(*largest, weight);
        }
    }
    let scales = largest.map(|largest| largest / GREATEST);
    for (row, output) in weights.chunks_exact(channels.max(1)).zip(output.chunks_exact_mut(channels.max(1))) {
        let (Some(row), Some(output)) = (columns::<W>(row, first), columns_mut::<W>(output, first)) else {
            return;
        };
        for ((output, &weight), (&scale, &largest)) in
            output.iter_mut().zip(row).zip(scales.iter().zip(&largest))
        {
            *output = fake(weight, scale, largest);
        }
    }
}

/// The greater magnitude; NaN if one of them is.
#[inline(always)]
fn greater(largest: f32, weight: f32) -> f32 {
    let magnitude = weight.abs();
    if magnitude <= largest || largest.is_nan() { largest } else { magnitude }
}

#[inline(always)]
fn fake(weight: f32, scale: f32, largest: f32) -> f32 {
    let near = scale * round(weight / scale);
    if largest < LEAST_WEIGHT {
        0.0
    } else if largest.is_nan() {
        largest
    } else {
        near
    }
}

/// [`forward`] for filters of `[K_h, K_w, C_out, C_in]`, those of a transposed convolution: `inner` elements next to each other are of one channel.
pub fn forward_transposed(channels: usize, inner: usize, weights: &[f32], output: &mut [f32]) {
    if channels == 0 || inner == 0 {
        return;
    }
    for channel in 0..channels {
        let runs = || weights.chunks_exact(inner).skip(channel).step_by(channels);
        let largest = runs().flatten().fold(0.0, |largest, &weight| greater(largest, weight));
        let scale = largest / GREATEST;
        let outputs = output.chunks_exact_mut(inner).skip(channel).step_by(channels);
        for (run, output) in runs().zip(outputs) {
            for (output, &weight) in output.iter_mut().zip(run) {
                *output = fake(weight, scale, largest);
            }
        }
    }
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([weights], [output]) = (step.reads()?, step.writes()?);
    step.attributes::<1>()?;
    flag(step.attributes, 0)?;
    all_are(step, ElementType::F32)?;
    has_shape(output, 1, weights.shape)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([weights], [output]) = (step.reads()?, step.writes()?);
    let is_transposed = flag(step.attributes, 0)?;
    let Shape([_, _, rows, columns]) = weights.shape;
    let Views { reads: [weights], writes: [output] } = memory.views([weights], [output])?;
    let (weights, output) = (elements(weights)?, elements_mut(output)?);
    if is_transposed {
        forward_transposed(rows as usize, columns as usize, weights, output);
    } else {
        forward(columns as usize, weights, output);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::ops::test_support::{Random, changed, in_arena, run_in_arena, step};

    #[test]
    fn each_channel_has_a_scale_of_its_own() {
        let mut random = Random(2);
        for channels in [1, 3, 8, 21] {
            let weights: Vec<f32> = random.values(9 * channels);
            let mut output = vec![f32::NAN; weights.len()];
            forward(channels, &weights, &mut output);
            for channel in 0..channels {
                let of = |values: &[f32]| -> Vec<f32> {
                    values.iter().skip(channel).step_by(channels).copied().collect()
                };
                let (weights, output) = (of(&weights), of(&output));
                let scale = weights.iter().fold(0.0f32, |largest, w| largest.max(w.abs())) / 127.0;
                for (w, y) in weights.iter().zip(&output) {
                    assert_eq!(*y, scale * libm::roundf(w / scale));
                }
            }
        }
    }

    #[test]
    fn transposed_filters_have_their_channels_elsewhere() {
        let mut random = Random(4);
        let (channels, inner, taps) = (3, 2, 4);
        let weights = random.values(taps * channels * inner);
        let mut found = vec![f32::NAN; weights.len()];
        forward_transposed(channels, inner, &weights, &mut found);
        // The same with the channel innermost.
        let place = |tap: usize, c: usize, i: usize| (tap * channels + c) * inner + i;
        let all = || (0..taps).flat_map(|tap| (0..inner).map(move |i| (tap, i)));
        let turned: Vec<f32> = all()
            .flat_map(|(tap, i)| (0..channels).map(move |c| (tap, c, i)))
            .map(|(t, c, i)| weights[place(t, c, i)])
            .collect();
        let mut expected = vec![f32::NAN; weights.len()];
        forward(channels, &turned, &mut expected);
        for (row, (tap, i)) in all().enumerate() {
            for c in 0..channels {
                assert_eq!(found[place(tap, c, i)], expected[row * channels + c]);
            }
        }
    }

    #[test]
    fn folding_a_factor_in_changes_nothing() {
        let weights = Random(7).values(36);
        let folded: Vec<f32> = weights.iter().map(|w| w * 4.0).collect();
        let (mut plain, mut scaled) = ([0.0; 36], [0.0; 36]);
        forward(4, &weights, &mut plain);
        forward(4, &folded, &mut scaled);
        assert!(plain.iter().zip(&scaled).all(|(plain, scaled)| plain * 4.0 == *scaled));
    }

    #[test]
    fn nothing_stays_nothing_and_nan_is_seen() {
        let mut output = [f32::NAN; 4];
        forward(2, &[0.0, 1.0, -0.0, f32::NAN], &mut output);
        assert!(output[0] == 0.0 && output[2] == 0.0 && output[1].is_nan() && output[3].is_nan());
    }

    #[test]
    fn steps_are_checked() {
        let (weights, output) = (in_arena(0, [1, 1, 2, 4]), in_arena(8, [1, 1, 2, 4]));
        let both = step(93, &[0], &[weights], &[output]);
        let mut arena = [0.25f32; 16];
        run_in_arena(&both, &mut arena);
        run_in_arena(&step(93, &[1], &[weights], &[output]), &mut arena);
        assert_eq!(
            changed(&both, |step| step.writes[0].shape.0[3] = 3),
            Err(StepError::Shape { operand: 1 })
        );
        let found = 2;
        let error = Err(StepError::Attribute { index: 0, found });
        assert_eq!(changed(&both, |step| step.attributes[0] = found), error);
    }
}
