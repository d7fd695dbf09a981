//! How fast the processor is at best: what a kernel's speed is a share of.

use super::Wide;
use super::lanes::{Lanes, Vectors};

/// Multiply-adds and nothing else.
struct MultiplyAdds<'a> {
    rounds: usize,
    result: &'a mut f32,
    done: &'a mut u64,
}

/// Sums that do not wait for each other.
const SUMS: usize = 12;

impl Wide for MultiplyAdds<'_> {
    #[inline(always)]
    unsafe fn run<V: Vectors>(self) -> bool {
        let (factor, summand) = (0.999_f32, [0.001_f32; 64]);
        let mut last = [0.0; 64];
        // SAFETY: the caller's; a vector has at most 64 lanes.
        unsafe {
            let (factor, summand) = (V::Wide::splat(&raw const factor), V::Wide::load(summand.as_ptr()));
            let mut sums = [summand; SUMS];
            for _ in 0..self.rounds {
                for sum in &mut sums {
                    *sum = V::Wide::fma(*sum, factor, summand);
                }
            }
            for sum in sums {
                V::Wide::store(last.as_mut_ptr(), sum);
                *self.result += last.iter().sum::<f32>();
            }
        }
        *self.done = (self.rounds * SUMS * V::Wide::LANES) as u64;
        true
    }
}

/// Does about `rounds` times a dozen multiply-adds of vectors of the instruction set in use, none of which waits for another, and says how many
/// numbers were multiplied and added; none if there are no vectors. The time that this takes is the least in which a kernel could do as many.
pub fn multiply_adds(rounds: usize) -> u64 {
    let (mut result, mut done) = (0.0, 0);
    super::run(MultiplyAdds { rounds, result: &mut result, done: &mut done });
    core::hint::black_box(result);
    done
}
