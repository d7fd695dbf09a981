//! The inner loops, by element type and instruction set, and the arithmetic that has to give the same bits everywhere. They know no
//! operator, no step and no model file.

#[cfg(arm_fma)]
mod arm;
pub(crate) mod channels;
mod fma;
pub(crate) mod taps;

pub use fma::fma;

/// The square root, correctly rounded (IEEE 754 `squareRoot`): the same bits with and without hardware for it.
#[inline(always)]
pub(crate) fn sqrt(x: f32) -> f32 {
    #[cfg(feature = "std")]
    return x.sqrt();
    #[cfg(not(feature = "std"))]
    return libm::sqrtf(x);
}
