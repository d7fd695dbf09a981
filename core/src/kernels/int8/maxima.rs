//! The greater of neighbouring channels, for pools. They need no layout of their own.

#[cfg(all(arm_dsp, not(arm_helium)))]
use super::dsp::keep_greater_fours;

/// Keeps in each of `greatest` the greater of it and of the value beside it.
///
/// Does nothing if there are fewer values.
#[inline(never)]
pub(crate) fn keep_greater(greatest: &mut [i8], values: &[i8]) {
    let Some(values) = values.get(..greatest.len()) else { return };
    let ((fours, last), (four_values, values)) = (greatest.as_chunks_mut::<4>(), values.as_chunks::<4>());
    keep_greater_fours(fours, four_values);
    for (greatest, &value) in last.iter_mut().zip(values) {
        *greatest = (*greatest).max(value);
    }
}

/// [`keep_greater`] of four at a time, of as many values.
#[cfg(not(all(arm_dsp, not(arm_helium))))]
fn keep_greater_fours(greatest: &mut [[i8; 4]], values: &[[i8; 4]]) {
    for (greatest, &value) in greatest.as_flattened_mut().iter_mut().zip(values.as_flattened()) {
        *greatest = (*greatest).max(value);
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::ops::int8::reference::Random;

    #[test]
    fn equals_the_definition() {
        let mut random = Random(81);
        for length in 0..40 {
            let more = random.size(0, 3);
            let (mut greatest, values) = (random.bytes(length), random.bytes(length + more));
            let expected: Vec<i8> = greatest.iter().zip(&values).map(|(&a, &b)| a.max(b)).collect();
            keep_greater(&mut greatest, &values);
            assert_eq!(greatest, expected);
            keep_greater(&mut greatest, std::vec![i8::MAX; length.saturating_sub(1)].as_slice());
            assert_eq!(greatest, expected, "a value is missing");
        }
    }
}
