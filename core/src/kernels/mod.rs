//! The inner loops, by element type and instruction set, and the arithmetic that has to give the same bits everywhere.

pub(crate) mod channels;

/// `a * b + c`, rounded once: the same bits with and without hardware for it.
#[inline(always)]
pub(crate) fn fma(a: f32, b: f32, c: f32) -> f32 {
    #[cfg(feature = "std")]
    return a.mul_add(b, c);
    #[cfg(not(feature = "std"))]
    return libm::fmaf(a, b, c);
}

/// The square root, correctly rounded (IEEE 754 `squareRoot`): the same bits with and without hardware for it.
#[inline(always)]
pub(crate) fn sqrt(x: f32) -> f32 {
    #[cfg(feature = "std")]
    return x.sqrt();
    #[cfg(not(feature = "std"))]
    return libm::sqrtf(x);
}
