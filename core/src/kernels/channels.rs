//! Per-channel reductions over the rows of an `[rows, channels]` matrix, in an order that does not depend on the vector
//! length: rows are summed in four chains, row `r` in chain `r mod 4`, and the result is `(c0 + c1) + (c2 + c3)`.
//! Lanes are channels, so that every channel's additions are the same on every target.

/// The four chains of `W` neighbouring channels.
pub(crate) type Chains<const W: usize> = [[f32; W]; 4];

/// The values of `W` channels from `first` on in the row that starts `row`.
#[inline(always)]
pub(crate) fn columns<const W: usize>(row: &[f32], first: usize) -> Option<&[f32; W]> {
    row.get(first..)?.first_chunk()
}

/// The values of `W` channels from `first` on, to write.
#[inline(always)]
pub(crate) fn columns_mut<const W: usize>(row: &mut [f32], first: usize) -> Option<&mut [f32; W]> {
    row.get_mut(first..)?.first_chunk_mut()
}

/// `(c0 + c1) + (c2 + c3)` for each channel.
#[inline(always)]
pub(crate) fn join<const W: usize>([c0, c1, c2, c3]: &Chains<W>) -> [f32; W] {
    let mut sums = [0.0; W];
    for (sum, (((c0, c1), c2), c3)) in sums.iter_mut().zip(c0.iter().zip(c1).zip(c2).zip(c3)) {
        *sum = (c0 + c1) + (c2 + c3);
    }
    sums
}

/// Calls `$function::<W>(first, $arguments...)` for blocks of `W` channels that cover `0..$channels`: the widest of 32, 16, 8, 4 and 1
/// that fits and is not above `$wide`.
macro_rules! for_each_block {
    ($wide:expr, $channels:expr, $function:ident($($argument:expr),* $(,)?)) => {{
        let channels: usize = $channels;
        let mut first = 0;
        while first < channels {
            first += match channels - first {
                32.. if $wide >= 32 => { $function::<32>(first, $($argument),*); 32 }
                16.. if $wide >= 16 => { $function::<16>(first, $($argument),*); 16 }
                8.. if $wide >= 8 => { $function::<8>(first, $($argument),*); 8 }
                4.. => { $function::<4>(first, $($argument),*); 4 }
                _ => { $function::<1>(first, $($argument),*); 1 }
            };
        }
    }};
}
pub(crate) use for_each_block;
