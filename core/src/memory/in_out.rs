//! An input and an output that may lie over each other.

use bytemuck::{AnyBitPattern, NoUninit};

/// An input and an output of a step that may lie over each other.
///
/// Piece by piece, an operator reads what it needs through [`input`](Self::input) before it writes through [`output`](Self::output). How far
/// the output may run over the input follows from the order of the pieces, see `docs/memory.md`.
#[derive(Debug)]
pub enum InOut<'a> {
    /// They share no byte.
    Apart {
        /// The input.
        input: &'a [u8],
        /// The output.
        output: &'a mut [u8],
    },
    /// They are parts of one region.
    Over {
        /// All bytes of both, and maybe others around them.
        region: &'a mut [u8],
        /// Where in the region the input begins and ends.
        input: (usize, usize),
        /// Where in the region the output begins and ends.
        output: (usize, usize),
    },
}

impl<'a> InOut<'a> {
    /// An input and an output that are slices of their own.
    pub fn apart<I: NoUninit + AnyBitPattern, O: NoUninit + AnyBitPattern>(
        input: &'a [I],
        output: &'a mut [O],
    ) -> Self {
        // Bytes have no alignment and no forbidden values: neither conversion fails.
        Self::Apart {
            input: bytemuck::try_cast_slice(input).unwrap_or_default(),
            output: bytemuck::try_cast_slice_mut(output).unwrap_or_default(),
        }
    }

    /// The two in a piece of a space, before which the space has `before` bytes; where they begin and end is counted in the space. `None` if one of them
    /// is not all in the piece.
    pub(super) fn within(
        piece: &'a mut [u8],
        before: usize,
        input: (usize, usize),
        output: (usize, usize),
    ) -> Option<Self> {
        let of_piece =
            |(start, end): (usize, usize)| Some((start.checked_sub(before)?, end.checked_sub(before)?));
        let (input, output) = (of_piece(input)?, of_piece(output)?);
        if input.1.max(output.1) > piece.len() {
            return None;
        }
        Some(if output.1 <= input.0 {
            let (low, high) = piece.split_at_mut_checked(input.0)?;
            Self::Apart { input: high.get(..input.1 - input.0)?, output: low.get_mut(output.0..output.1)? }
        } else if input.1 <= output.0 {
            let (low, high) = piece.split_at_mut_checked(output.0)?;
            Self::Apart { input: low.get(input.0..input.1)?, output: high.get_mut(..output.1 - output.0)? }
        } else {
            Self::Over { region: piece, input, output }
        })
    }

    /// The parts of the input and of the output from one byte to another.
    #[inline(never)]
    pub fn part(&mut self, input: (usize, usize), output: (usize, usize)) -> InOut<'_> {
        match self {
            Self::Apart { input: from, output: to } => InOut::Apart {
                input: from.get(input.0..input.1).unwrap_or_default(),
                output: to.get_mut(output.0..output.1).unwrap_or_default(),
            },
            Self::Over { region, input: (from, _), output: (to, _) } => {
                let moved = |by: usize, (start, end): (usize, usize)| {
                    (by.saturating_add(start), by.saturating_add(end))
                };
                InOut::Over { region, input: moved(*from, input), output: moved(*to, output) }
            }
        }
    }

    /// The input. After a write, what that has left of it.
    #[inline]
    pub fn input(&self) -> &[u8] {
        match self {
            Self::Apart { input, .. } => input,
            Self::Over { region, input: (start, end), .. } => region.get(*start..*end).unwrap_or_default(),
        }
    }

    /// The output.
    #[inline]
    pub fn output(&mut self) -> &mut [u8] {
        match self {
            Self::Apart { output, .. } => output,
            Self::Over { region, output: (start, end), .. } => {
                region.get_mut(*start..*end).unwrap_or_default()
            }
        }
    }
}
