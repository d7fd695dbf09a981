//! Kernels for the host's vector instructions: sums stay in registers, in tiles as large as the register file allows.
//!
//! They give the bits of the portable kernels beside them ([`convolve`](super::convolve), [`correlate`](super::correlate),
//! [`stencil`](super::stencil)), which are what a device runs and what they are tested against: each sum is the same chain, lanes are channels,
//! and a tap in the padding is left out. What they do not handle they leave to those, and say so.
//!
//! Unlike those they go through pointers: with slices the compiler keeps tests in the loops, and now and then puts a tile on the stack, which
//! costs a factor of two to six. The pointers are made from slices whose lengths are checked once in a call.
#![allow(unsafe_code)]

mod correlate;
mod grid;
mod lanes;
mod peak;
mod per_channel;
mod product;
mod stencil;

use lanes::Vectors;

use super::isa::{Isa, current};

/// A kernel over vectors of some instruction set.
trait Wide {
    /// Runs it, and says whether it did; if not, it has written nothing.
    ///
    /// # Safety
    /// The processor has the instructions of `V`.
    unsafe fn run<V: Vectors>(self) -> bool;
}

/// Whether there are vectors in the instruction set in use.
fn are_there() -> bool {
    current() != Isa::Scalar
}

/// Runs `kernel` with the vectors of the instruction set in use: whether there are any, and it did.
fn run(kernel: impl Wide) -> bool {
    match current() {
        // SAFETY: an instruction set can only be in use if the processor has it.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2(kernel) },
        // SAFETY: every 64-bit Arm has Neon.
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => unsafe { neon(kernel) },
        _ => false,
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(kernel: impl Wide) -> bool {
    // SAFETY: the features are those of `Avx2`.
    unsafe { kernel.run::<lanes::Avx2>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512vl")]
fn avx512(kernel: impl Wide) -> bool {
    // SAFETY: the features are those of `Avx512`.
    unsafe { kernel.run::<lanes::Avx512>() }
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn neon(kernel: impl Wide) -> bool {
    // SAFETY: the feature is that of `Neon`.
    unsafe { kernel.run::<lanes::Neon>() }
}

/// Calls `$function::<L, COUNT>(channel, $arguments...)` for blocks of `COUNT` vectors of channels that cover `0..$channels`: as many of the
/// widest as fit, then narrower ones. `$most` is how many vectors a block may have.
macro_rules! for_blocks {
    ($vectors:ident, $most:expr, $channels:expr, $function:ident($($argument:expr),*)) => {{
        let channels: usize = $channels;
        let mut channel = 0;
        while channel < channels {
            let (left, wide) = (channels - channel, <$vectors::Wide as Lanes>::LANES);
            channel += if $most >= 4 && left >= 4 * wide {
                $function::<$vectors, $vectors::Wide, 4>(channel, $($argument),*);
                4 * wide
            } else if $most >= 2 && left >= 2 * wide {
                $function::<$vectors, $vectors::Wide, 2>(channel, $($argument),*);
                2 * wide
            } else if left >= wide {
                $function::<$vectors, $vectors::Wide, 1>(channel, $($argument),*);
                wide
            } else if left >= <$vectors::Eight as Lanes>::LANES {
                $function::<$vectors, $vectors::Eight, 1>(channel, $($argument),*);
                <$vectors::Eight as Lanes>::LANES
            } else if left >= <$vectors::Four as Lanes>::LANES {
                $function::<$vectors, $vectors::Four, 1>(channel, $($argument),*);
                <$vectors::Four as Lanes>::LANES
            } else {
                $function::<$vectors, $crate::kernels::wide::lanes::One, 1>(channel, $($argument),*);
                1
            };
        }
    }};
}
pub(crate) use correlate::correlate;
use for_blocks;
pub use peak::multiply_adds;
pub(crate) use per_channel::{scale, scale_gradient};
pub(crate) use product::{convolve, convolve_transposed};
pub(crate) use stencil::stencil;
