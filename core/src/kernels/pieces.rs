//! Two slices, piece by piece.

/// Neighbouring pieces of an input, of the first length, with those of an output, of the second, as long as there are both. None of
/// length 0.
///
/// As two `chunks_exact` zipped, but without a division, which the compiler could not always prove to be by no zero.
pub(crate) fn pieces<'a, I, O>(
    (mut input, mut output): (&'a [I], &'a mut [O]),
    [in_length, out_length]: [usize; 2],
) -> impl Iterator<Item = (&'a [I], &'a mut [O])> {
    core::iter::from_fn(move || {
        if in_length == 0 || out_length == 0 {
            return None;
        }
        let (in_piece, rest) = input.split_at_checked(in_length)?;
        input = rest;
        let (out_piece, rest) = core::mem::take(&mut output).split_at_mut_checked(out_length)?;
        output = rest;
        Some((in_piece, out_piece))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn pieces_lie_side_by_side_and_what_is_left_is_left_out() {
        let (input, mut output) = ([1, 2, 3, 4, 5], [0; 9]);
        for (input, output) in pieces((&input, &mut output), [2, 4]) {
            output.fill(input[1]);
        }
        assert_eq!(output, [2, 2, 2, 2, 4, 4, 4, 4, 0]);
        assert_eq!(
            pieces((&input, &mut output), [3, 1]).map(|(i, o)| (i.len(), o.len())).collect::<Vec<_>>(),
            [(3, 1)]
        );
        assert_eq!(
            pieces((&input, &mut output), [0, 1]).count() + pieces((&input, &mut output), [1, 0]).count(),
            0
        );
    }
}
