//! A vector of neighbouring channels, and the few operations that the kernels need.
//!
//! No operation crosses lanes, and each is one IEEE operation, so that the number of lanes cannot change a result.
//!
//! Why not a crate: a portable one that was measured (`fearless_simd`) came near, but the tiles below want to know how many registers there
//! are, and eight functions are fewer lines than the dependency's documentation.

use super::Wide;

/// An instruction set's vectors: the widest, and narrower ones for what is left of the channels.
pub(crate) trait Vectors {
    /// The widest.
    type Wide: Lanes;
    /// Eight lanes, or as many as there are.
    type Eight: Lanes;
    /// Four lanes, or as many as there are.
    type Four: Lanes;
    /// How many sums of `Wide` a tile may hold and leave registers for what they are made from.
    const SUMS: usize;

    /// Runs `part` of a kernel as a function of its own: a kernel whose tiles are all inlined into one function takes the compiler minutes.
    ///
    /// It is this function that is not inlined, as the compiler (1.95) forgets to keep those apart that have instruction sets of their own.
    ///
    /// # Safety
    /// The processor has the instructions, and whatever else `part` asks for.
    unsafe fn call(part: impl Wide) -> bool;
}

/// A vector of `LANES` channels.
///
/// # Safety of all functions
/// The processor has the instructions, and pointers are good for as many elements as the function touches: one for `splat`, `LANES` for
/// `load` and `store`. None has to be aligned.
pub(crate) trait Lanes: Copy {
    /// The vector.
    type Vector: Copy;
    /// How many channels it holds.
    const LANES: usize;

    /// All lanes 0.
    unsafe fn zero() -> Self::Vector;
    /// The same number in all lanes.
    unsafe fn splat(from: *const f32) -> Self::Vector;
    /// Neighbouring numbers.
    unsafe fn load(from: *const f32) -> Self::Vector;
    /// Stores neighbouring numbers.
    unsafe fn store(to: *mut f32, vector: Self::Vector);
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `a - b`.
    unsafe fn sub(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b`.
    unsafe fn mul(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Where `a > b`, `yes`; elsewhere, and where one of them is NaN, `no`.
    unsafe fn where_greater(
        a: Self::Vector,
        b: Self::Vector,
        yes: Self::Vector,
        no: Self::Vector,
    ) -> Self::Vector;
}

/// One channel.
#[derive(Clone, Copy)]
pub(crate) struct One;

impl Lanes for One {
    type Vector = f32;
    const LANES: usize = 1;

    #[inline(always)]
    unsafe fn zero() -> f32 {
        0.0
    }

    #[inline(always)]
    unsafe fn splat(from: *const f32) -> f32 {
        // SAFETY: the caller's.
        unsafe { *from }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> f32 {
        // SAFETY: the caller's.
        unsafe { *from }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, vector: f32) {
        // SAFETY: the caller's.
        unsafe { *to = vector }
    }

    #[inline(always)]
    unsafe fn fma(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    unsafe fn sub(a: f32, b: f32) -> f32 {
        a - b
    }

    #[inline(always)]
    unsafe fn mul(a: f32, b: f32) -> f32 {
        a * b
    }

    #[inline(always)]
    unsafe fn where_greater(a: f32, b: f32, yes: f32, no: f32) -> f32 {
        if a > b { yes } else { no }
    }
}

/// Defines a vector type by its intrinsics.
macro_rules! lanes {
    ($name:ident, $vector:ty, $lanes:literal, $zero:expr, $splat:ident, $load:ident, $store:ident, $fma:ident, $sub:ident, $mul:ident, $where:ident) => {
        #[doc = concat!(stringify!($lanes), " channels.")]
        #[derive(Clone, Copy)]
        pub(crate) struct $name;

        impl Lanes for $name {
            type Vector = $vector;
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn zero() -> $vector {
                // SAFETY: the caller's, here and below.
                unsafe { $zero }
            }

            #[inline(always)]
            unsafe fn splat(from: *const f32) -> $vector {
                // SAFETY: as above.
                unsafe { $splat(*from) }
            }

            #[inline(always)]
            unsafe fn load(from: *const f32) -> $vector {
                // SAFETY: as above.
                unsafe { $load(from) }
            }

            #[inline(always)]
            unsafe fn store(to: *mut f32, vector: $vector) {
                // SAFETY: as above.
                unsafe { $store(to, vector) }
            }

            #[inline(always)]
            unsafe fn fma(a: $vector, b: $vector, c: $vector) -> $vector {
                // SAFETY: as above.
                unsafe { lanes!(@fma $fma a b c) }
            }

            #[inline(always)]
            unsafe fn sub(a: $vector, b: $vector) -> $vector {
                // SAFETY: as above.
                unsafe { $sub(a, b) }
            }

            #[inline(always)]
            unsafe fn mul(a: $vector, b: $vector) -> $vector {
                // SAFETY: as above.
                unsafe { $mul(a, b) }
            }

            #[inline(always)]
            unsafe fn where_greater(a: $vector, b: $vector, yes: $vector, no: $vector) -> $vector {
                // SAFETY: as above.
                unsafe { lanes!(@where $where a b yes no) }
            }
        }
    };
    (@fma vfmaq_f32 $a:ident $b:ident $c:ident) => { vfmaq_f32($c, $a, $b) };
    (@where mask $a:ident $b:ident $yes:ident $no:ident) => {
        _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>($a, $b), $no, $yes)
    };
    (@where blend_eight $a:ident $b:ident $yes:ident $no:ident) => {
        _mm256_blendv_ps($no, $yes, _mm256_cmp_ps::<_CMP_GT_OQ>($a, $b))
    };
    (@where blend_four $a:ident $b:ident $yes:ident $no:ident) => {
        _mm_blendv_ps($no, $yes, _mm_cmp_ps::<_CMP_GT_OQ>($a, $b))
    };
    (@where select $a:ident $b:ident $yes:ident $no:ident) => { vbslq_f32(vcgtq_f32($a, $b), $yes, $no) };
    (@fma $fma:ident $a:ident $b:ident $c:ident) => { $fma($a, $b, $c) };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::{
        __m128, __m256, __m512, _CMP_GT_OQ, _mm_blendv_ps, _mm_cmp_ps, _mm_fmadd_ps, _mm_loadu_ps,
        _mm_mul_ps, _mm_set1_ps, _mm_setzero_ps, _mm_storeu_ps, _mm_sub_ps, _mm256_blendv_ps, _mm256_cmp_ps,
        _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_mul_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps,
        _mm256_sub_ps, _mm512_cmp_ps_mask, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_blend_ps,
        _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps, _mm512_sub_ps,
    };

    use super::{Lanes, Vectors, Wide};

    lanes!(
        Sixteen,
        __m512,
        16,
        _mm512_setzero_ps(),
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_fmadd_ps,
        _mm512_sub_ps,
        _mm512_mul_ps,
        mask
    );
    lanes!(
        Eight,
        __m256,
        8,
        _mm256_setzero_ps(),
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_fmadd_ps,
        _mm256_sub_ps,
        _mm256_mul_ps,
        blend_eight
    );
    lanes!(
        Four,
        __m128,
        4,
        _mm_setzero_ps(),
        _mm_set1_ps,
        _mm_loadu_ps,
        _mm_storeu_ps,
        _mm_fmadd_ps,
        _mm_sub_ps,
        _mm_mul_ps,
        blend_four
    );

    /// The vectors of AVX2, of which there are 16.
    pub(crate) struct Avx2;

    impl Vectors for Avx2 {
        type Wide = Eight;
        type Eight = Eight;
        type Four = Four;
        const SUMS: usize = 12;

        #[inline(never)]
        unsafe fn call(part: impl Wide) -> bool {
            // SAFETY: the caller's.
            unsafe { super::super::avx2(part) }
        }
    }

    /// The vectors of AVX-512, of which there are 32.
    pub(crate) struct Avx512;

    impl Vectors for Avx512 {
        type Wide = Sixteen;
        type Eight = Eight;
        type Four = Four;
        const SUMS: usize = 24;

        #[inline(never)]
        unsafe fn call(part: impl Wide) -> bool {
            // SAFETY: the caller's.
            unsafe { super::super::avx512(part) }
        }
    }
}
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "aarch64")]
mod arm {
    use core::arch::aarch64::{
        float32x4_t, vbslq_f32, vcgtq_f32, vdupq_n_f32, vfmaq_f32, vld1q_f32, vmulq_f32, vst1q_f32, vsubq_f32,
    };

    use super::{Lanes, Vectors, Wide};

    lanes!(
        Four,
        float32x4_t,
        4,
        vdupq_n_f32(0.0),
        vdupq_n_f32,
        vld1q_f32,
        vst1q_f32,
        vfmaq_f32,
        vsubq_f32,
        vmulq_f32,
        select
    );

    /// The vectors of Neon, of which there are 32.
    pub(crate) struct Neon;

    impl Vectors for Neon {
        type Wide = Four;
        type Eight = Four;
        type Four = Four;
        const SUMS: usize = 24;

        #[inline(never)]
        unsafe fn call(part: impl Wide) -> bool {
            // SAFETY: the caller's.
            unsafe { super::super::neon(part) }
        }
    }
}
#[cfg(target_arch = "aarch64")]
pub(crate) use arm::Neon;
