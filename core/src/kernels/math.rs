//! The functions that are not arithmetic: the only place where `exp`, `ln` and `sqrt` come from.
//!
//! They are `libm`'s on every target, never the platform's, whose last bit differs. The feature `micromath` takes `exp` and `ln` from the
//! crate of that name instead: shorter and faster, with an error of up to 0.3 %, and no longer the same bits as a build without it. NaN and
//! infinities come out as they do from `libm`. The square root stays exact: one that is 5 % off would make batch norm and Adam others.

/// `e^x`.
#[inline]
pub(crate) fn exp(x: f32) -> f32 {
    #[cfg(not(feature = "micromath"))]
    return libm::expf(x);
    #[cfg(feature = "micromath")]
    return match x {
        // Not a normal number any more.
        ..-87.0 => 0.0,
        -87.0..88.7 => micromath::F32(x).exp().0,
        // Infinity, or NaN that stays NaN.
        _ => x + f32::INFINITY,
    };
}

/// The natural logarithm of `x`, which is NaN or not below 1.
#[inline]
pub(crate) fn ln(x: f32) -> f32 {
    #[cfg(not(feature = "micromath"))]
    return libm::logf(x);
    #[cfg(feature = "micromath")]
    return if x < f32::INFINITY { micromath::F32(x).ln().0 } else { x };
}

/// `e^x - 1`, exact for small `x` too.
#[inline]
pub(crate) fn expm1(x: f32) -> f32 {
    libm::expm1f(x)
}

/// The hyperbolic tangent.
#[inline]
pub(crate) fn tanh(x: f32) -> f32 {
    libm::tanhf(x)
}

/// One less the error function, `2 / sqrt(pi)` times the integral of `exp(-t^2)` from `x` to infinity.
#[inline]
pub(crate) fn erfc(x: f32) -> f32 {
    libm::erfcf(x)
}

/// The square root, correctly rounded (IEEE 754 `squareRoot`): the same bits with and without hardware for it.
#[inline(always)]
pub(crate) fn sqrt(x: f32) -> f32 {
    #[cfg(feature = "std")]
    return x.sqrt();
    #[cfg(not(feature = "std"))]
    return libm::sqrtf(x);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// libm's functions are a unit in the last place off; micromath's cut a series after its fourth power and fit a polynomial.
    const TOLERANCE: f64 = if cfg!(feature = "micromath") { 3e-3 } else { 2e-7 };

    #[test]
    fn exponentials_and_logarithms_are_as_exact_as_promised() {
        for x in (-8699..8870).map(|x| x as f32 / 100.0) {
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < TOLERANCE, "exp({x}) is {:e} instead of {expected:e}", exp(x));
            let argument = exp(x.abs());
            let expected = f64::from(argument).ln();
            let error = (f64::from(ln(argument)) - expected).abs() / expected.max(1.0);
            assert!(error < TOLERANCE, "ln({argument:e}) is {} instead of {expected}", ln(argument));
        }
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        assert_eq!([f32::NEG_INFINITY, f32::MIN, -200.0, 0.0].map(exp), [0.0, 0.0, 0.0, 1.0]);
        assert_eq!([89.0, f32::MAX, f32::INFINITY].map(exp), [f32::INFINITY; 3]);
        assert_eq!((ln(1.0), ln(f32::INFINITY)), (0.0, f32::INFINITY));
        assert!(exp(f32::NAN).is_nan() && ln(f32::NAN).is_nan());
    }

    #[test]
    fn square_roots_are_libm_s() {
        for x in [0.0, -0.0, 1e-40, 2.0, 3.0, 1e30, f32::MAX, f32::INFINITY] {
            assert_eq!(sqrt(x).to_bits(), libm::sqrtf(x).to_bits(), "{x:e}");
        }
        assert!(sqrt(-1.0).is_nan());
    }
}
