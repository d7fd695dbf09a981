//! Which instruction set the f32 kernels use, and how a kernel is compiled for each of them.
//!
//! A kernel is written once, over small arrays of neighbouring channels. With the feature `simd` it is compiled once for each
//! instruction set of the host, and the choice is made at run time; without it there is only the scalar form. The choice never
//! changes a result's bits, because lanes are channels and no lane's arithmetic depends on another's.

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Isa {
    /// What every target has.
    Scalar = 1,
    /// 4 lanes, part of every 64-bit Arm.
    Neon = 2,
    /// 8 lanes, with fused multiply-add.
    Avx2 = 3,
    /// 16 lanes.
    Avx512 = 4,
}

impl Isa {
    /// All of them, the better ones last.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Neon, Self::Avx2, Self::Avx512];

    /// Whether this processor has it and this build has kernels for it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Neon => cfg!(all(feature = "simd", target_arch = "aarch64")),
            #[cfg(all(feature = "simd", target_arch = "x86_64"))]
            Self::Avx2 => super::x86::has_avx2(),
            #[cfg(all(feature = "simd", target_arch = "x86_64"))]
            Self::Avx512 => super::x86::has_avx512(),
            #[cfg(not(all(feature = "simd", target_arch = "x86_64")))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }

    /// The best one that is available.
    pub fn best() -> Self {
        Self::ALL.into_iter().rfind(|isa| isa.is_available()).unwrap_or(Self::Scalar)
    }
}

/// The instruction set asked for is not available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable(pub Isa);

impl core::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "this processor, or this build, has no kernels for {:?}", self.0)
    }
}

impl core::error::Error for Unavailable {}

#[cfg(feature = "simd")]
mod chosen {
    use core::sync::atomic::{AtomicU8, Ordering};

    use super::{Isa, Unavailable};

    /// 0 as long as nobody chose.
    static CHOSEN: AtomicU8 = AtomicU8::new(0);

    /// The instruction set in use, by the whole process: the best one, if nobody chose.
    pub fn current() -> Isa {
        let chosen = CHOSEN.load(Ordering::Relaxed);
        Isa::ALL.into_iter().find(|&isa| isa as u8 == chosen).unwrap_or_else(|| {
            let best = Isa::best();
            CHOSEN.store(best as u8, Ordering::Relaxed);
            best
        })
    }

    /// Chooses the instruction set for the whole process.
    ///
    /// # Errors
    /// [`Unavailable`] if it is not; the choice stays as it was.
    pub fn choose(isa: Isa) -> Result<(), Unavailable> {
        if !isa.is_available() {
            return Err(Unavailable(isa));
        }
        CHOSEN.store(isa as u8, Ordering::Relaxed);
        Ok(())
    }
}
#[cfg(feature = "simd")]
pub use chosen::{choose, current};

/// An inner loop that is compiled for every instruction set.
pub(crate) trait Kernel {
    /// Runs it. `WIDE` channels fill two vector registers, where there are vectors; `TILE` is how many sums of `WIDE` channels
    /// the register file holds besides what they are made from.
    ///
    /// Always `#[inline(always)]`, as is everything that it calls in its loops: the code takes its instruction set from the
    /// function that it is inlined into.
    fn run<const WIDE: usize, const TILE: usize>(self);
}

/// Runs `kernel` with the instruction set in use.
#[inline]
pub(crate) fn dispatch(kernel: impl Kernel) {
    #[cfg(feature = "simd")]
    match current() {
        Isa::Scalar => {}
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => return kernel.run::<8, 8>(),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => return super::x86::run_avx2(kernel),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => return super::x86::run_avx512(kernel),
        _ => {}
    }
    scalar(kernel);
}

/// Four channels at a time, so that what they share is loaded once.
pub(super) fn scalar(kernel: impl Kernel) {
    kernel.run::<4, 1>();
}
