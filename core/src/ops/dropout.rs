//! Dropout: elements become 0 at random, in training only.
//!
//! N. Srivastava et al.: *Dropout: A Simple Way to Prevent Neural Networks from Overfitting*, JMLR 15, 2014.

use crate::kernels::philox::{philox, unit};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Shape};
use crate::ops::operands::{float_in, has_shape, is};
use crate::step::{Step, StepError};

/// Parameters of [`forward`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// Elements of a sample. Positive.
    pub sample_elements: usize,
    /// The share that becomes 0, in `0.0..1.0`.
    pub rate: f32,
    /// Tells the layers of a network apart.
    pub stream: u32,
}

/// `output = input / (1 - rate)`, or 0 for the share `rate` of the elements.
///
/// Element `i` of a sample with the key `[a, b]` becomes 0 if word `i mod 4` of `philox([i / 4, stream, 0, 0], [a, b])`, as a number in `[0, 1)`, is
/// below `rate`. So what is drawn is a function of the sample's key, whatever its chunk, thread and place in the batch. The gradient is the
/// same function of `grad_output`, with the same keys.
///
/// `input` and `output` are `[N, H, W, C]`, `keys` is `[N, 1, 1, 2]`. Without `input`, what is in `output` is its input.
pub fn forward(params: Params, input: Option<&[f32]>, keys: &[i32], output: &mut [f32]) {
    let Params { sample_elements, rate, stream } = params;
    if sample_elements == 0 {
        return;
    }
    if let Some(input) = input {
        output.iter_mut().zip(input).for_each(|(output, input)| *output = *input);
    }
    let scale = 1.0 / (1.0 - rate);
    for (sample, &[a, b]) in output.chunks_exact_mut(sample_elements).zip(keys.as_chunks::<2>().0) {
        for (block, values) in (0u32..).zip(sample.chunks_mut(4)) {
            let words = philox([block, stream, 0, 0], [a as u32, b as u32]);
            for (value, word) in values.iter_mut().zip(words) {
                *value = if unit(word) < rate { 0.0 } else { *value * scale };
            }
        }
    }
}

fn params(step: Step<'_>) -> Result<Params, StepError> {
    let [input, _] = step.reads()?;
    let &[_, stream] = step.attributes()?;
    let Shape([_, h, w, c]) = input.shape;
    let sample_elements = Shape([1, h, w, c]).elements().ok_or(StepError::Shape { operand: 0 })?;
    Ok(Params { sample_elements, rate: float_in(step.attributes, 0, 0.0..1.0)?, stream: stream as u32 })
}

pub(super) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([input, keys], [output]) = (step.reads()?, step.writes()?);
    params(step)?;
    is(input, 0, ElementType::F32)?;
    is(keys, 1, ElementType::I32)?;
    is(output, 2, ElementType::F32)?;
    let Shape([samples, ..]) = input.shape;
    has_shape(keys, 1, Shape([samples, 1, 1, 2]))?;
    has_shape(output, 2, input.shape)
}

pub(super) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input, keys], [output]) = (step.reads()?, step.writes()?);
    let params = params(step)?;
    if input.same_place(output) {
        let Views { reads: [keys], writes: [output] } = memory.views([keys], [output])?;
        forward(params, None, elements(keys)?, elements_mut(output)?);
    } else {
        let Views { reads: [input, keys], writes: [output] } = memory.views([input, keys], [output])?;
        forward(params, Some(elements(input)?), elements(keys)?, elements_mut(output)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::operand::Operand;
    use crate::ops::test_support::{changed, in_arena, run_in_arena, step};

    const PARAMS: Params = Params { sample_elements: 1002, rate: 0.25, stream: 3 };

    fn ones(params: Params, keys: &[i32]) -> std::vec::Vec<f32> {
        let mut output = vec![1.0; params.sample_elements * keys.len() / 2];
        forward(params, None, keys, &mut output);
        output
    }

    #[test]
    fn the_share_is_right_and_the_mean_stays() {
        let output = ones(Params { sample_elements: 100_000, ..PARAMS }, &[7, 8]);
        let dropped = output.iter().filter(|&&value| value == 0.0).count();
        // The standard deviation of the count is 137.
        assert!(dropped.abs_diff(25_000) < 700, "{dropped}");
        assert!(output.iter().all(|&value| value == 0.0 || value == 1.0 / 0.75));
    }

    #[test]
    fn a_sample_s_key_decides_and_not_its_place() {
        let together = ones(PARAMS, &[1, 2, 3, 4]);
        assert_eq!(together[..1002], ones(PARAMS, &[1, 2]));
        assert_eq!(together[1002..], ones(PARAMS, &[3, 4]));
        for (params, key) in [(PARAMS, [1, 3]), (PARAMS, [2, 2]), (Params { stream: 4, ..PARAMS }, [1, 2])] {
            assert_ne!(together[..1002], ones(params, &key));
        }
    }

    #[test]
    fn the_bits_are_pinned() {
        // The first four are decided by the authors' known answer to counter and key 0: 0x66…, 0xe1…, 0xbc…, 0x9b….
        let params = Params { sample_elements: 12, rate: 0.5, stream: 0 };
        assert_eq!(ones(params, &[0, 0]), [0.0, 2.0, 2.0, 2.0, 2.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn steps_are_checked_and_run_in_place() {
        let keys = Operand { element_type: ElementType::I32, ..in_arena(0, [2, 1, 1, 2]) };
        let [input, output] = [4, 20].map(|at| in_arena(at, [2, 1, 2, 4]));
        let attributes = [0.5f32.to_bits() as i32, 9];
        let apart = step(69, &attributes, &[input, keys], &[output]);
        assert_eq!(changed(&apart, |_| ()), Ok(()));
        let mut arena = [1.0f32; 36];
        arena[..4].copy_from_slice(&[1, 2, 3, 4].map(f32::from_bits));
        run_in_arena(&apart, &mut arena);
        let expected = arena[20..].to_vec();
        assert!(expected.contains(&0.0) && expected.contains(&2.0), "{expected:?}");
        run_in_arena(&step(69, &attributes, &[input, keys], &[input]), &mut arena);
        assert_eq!(arena[4..20], expected);
        let error = StepError::Shape { operand: 1 };
        assert_eq!(changed(&apart, |step| step.reads[1].shape.0[0] = 1), Err(error));
        let error = StepError::Shape { operand: 2 };
        assert_eq!(changed(&apart, |step| step.writes[0].shape.0[3] = 3), Err(error));
        let found = 1.0f32.to_bits() as i32;
        let error = StepError::Attribute { index: 0, found };
        assert_eq!(changed(&apart, |step| step.attributes[0] = found), Err(error));
    }
}
