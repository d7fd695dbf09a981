//! The fused multiply-add, the one arithmetic instruction of the f32 kernels.

/// `a * b + c`, rounded once (IEEE 754 `fusedMultiplyAdd`): the same bits on every target.
///
/// A result that is NaN is NaN everywhere, but sign and payload are the processor's own.
#[inline(always)]
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    #[cfg(feature = "std")]
    return a.mul_add(b, c);
    #[cfg(all(not(feature = "std"), arm_fma))]
    return super::arm::fma(a, b, c);
    #[cfg(all(not(feature = "std"), not(arm_fma)))]
    return libm::fmaf(a, b, c);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marsaglia's xorshift32: any bit pattern is as likely as any other.
    fn bits(state: &mut u32) -> f32 {
        *state ^= *state << 13;
        *state ^= *state >> 17;
        *state ^= *state << 5;
        f32::from_bits(*state)
    }

    fn same(left: f32, right: f32) -> bool {
        left.to_bits() == right.to_bits() || left.is_nan() && right.is_nan()
    }

    #[test]
    fn it_is_libm_s_on_random_bits() {
        let mut state = 0x9e37_79b9;
        for _ in 0..200_000 {
            let [a, b, c] = [bits(&mut state), bits(&mut state), bits(&mut state)];
            // Random exponents rarely meet: bring c near to the product, where a second rounding would show.
            for c in [c, -a * b, a * b * f32::from_bits(c.to_bits() & 0x007f_ffff | 0x3f80_0000)] {
                let (found, expected) = (fma(a, b, c), libm::fmaf(a, b, c));
                assert!(same(found, expected), "{a:e} * {b:e} + {c:e}: {found:e}, expected {expected:e}");
                assert!(same(a.mul_add(b, c), expected), "std, {a:e} * {b:e} + {c:e}");
            }
        }
    }

    #[test]
    fn it_rounds_once() {
        let x = 1.0 + f32::EPSILON;
        assert_eq!(fma(x, x, -(x * x)), f32::EPSILON * f32::EPSILON);
    }
}
