//! Functions of elements and of a few numbers of their channels: batch norm, which is all passes over memory.
//!
//! Pixels are taken together until their elements fill whole vectors. The numbers of a block of channels stay in registers while it goes over all
//! pixels.

use core::marker::PhantomData;

use super::Wide;
use super::lanes::{Lanes, One, Vectors};
use crate::kernels::activation::Activation;
use crate::kernels::per_channel::PerChannel;

/// A function of two elements and of `T` numbers of their channel.
trait Function<const T: usize> {
    /// Its value; `K` tells the activation.
    ///
    /// # Safety
    /// The processor has the instructions.
    unsafe fn of<L: Lanes, K: Kind>(
        activation: &K,
        numbers: [L::Vector; T],
        elements: [L::Vector; 2],
    ) -> L::Vector;
}

/// `activation(x * scale + shift)`.
struct Scale;

impl Function<2> for Scale {
    #[inline(always)]
    unsafe fn of<L: Lanes, K: Kind>(
        activation: &K,
        [scale, shift]: [L::Vector; 2],
        [x, _]: [L::Vector; 2],
    ) -> L::Vector {
        // SAFETY: the caller's.
        unsafe { activation.of::<L>(L::fma(x, scale, shift)) }
    }
}

/// `scale * g + (slope * (x - mean) + constant)`, where `g` is the gradient through the activation at `x * scale + shift`.
struct ScaleGradient;

impl Function<5> for ScaleGradient {
    #[inline(always)]
    unsafe fn of<L: Lanes, K: Kind>(
        activation: &K,
        [mean, scale, shift, slope, constant]: [L::Vector; 5],
        [x, grad_output]: [L::Vector; 2],
    ) -> L::Vector {
        // SAFETY: the caller's.
        unsafe {
            let g = activation.gradient::<L>(L::fma(x, scale, shift), grad_output);
            L::fma(scale, g, L::fma(slope, L::sub(x, mean), constant))
        }
    }
}

/// An activation that the compiler knows: [`Activation::apply`] and [`Activation::gradient`] of vectors.
///
/// # Safety of all functions
/// The processor has the instructions.
trait Kind: Copy {
    /// The activation of `x`.
    unsafe fn of<L: Lanes>(self, x: L::Vector) -> L::Vector;
    /// The gradient with respect to `x`.
    unsafe fn gradient<L: Lanes>(self, x: L::Vector, grad_output: L::Vector) -> L::Vector;
}

/// None.
#[derive(Clone, Copy)]
struct Linear;

impl Kind for Linear {
    #[inline(always)]
    unsafe fn of<L: Lanes>(self, x: L::Vector) -> L::Vector {
        x
    }

    #[inline(always)]
    unsafe fn gradient<L: Lanes>(self, _: L::Vector, grad_output: L::Vector) -> L::Vector {
        grad_output
    }
}

/// `ReLU` and leaky `ReLU`: what is not positive is multiplied by `alpha`, or 0.
#[derive(Clone, Copy)]
struct Rectified<const LEAKY: bool> {
    alpha: f32,
}

impl<const LEAKY: bool> Kind for Rectified<LEAKY> {
    #[inline(always)]
    unsafe fn of<L: Lanes>(self, x: L::Vector) -> L::Vector {
        // SAFETY: the caller's.
        unsafe { self.gradient::<L>(x, x) }
    }

    #[inline(always)]
    unsafe fn gradient<L: Lanes>(self, x: L::Vector, grad_output: L::Vector) -> L::Vector {
        // SAFETY: the caller's.
        unsafe {
            let other = if LEAKY { L::mul(L::splat(&raw const self.alpha), grad_output) } else { L::zero() };
            L::where_greater(x, L::zero(), grad_output, other)
        }
    }
}

/// Between two bounds: `ReLU6`, and `ReLU` between -1 and 1.
#[derive(Clone, Copy)]
struct Bounded {
    least: f32,
    most: f32,
}

impl Kind for Bounded {
    #[inline(always)]
    unsafe fn of<L: Lanes>(self, x: L::Vector) -> L::Vector {
        // SAFETY: the caller's.
        unsafe {
            let (least, most) = (L::splat(&raw const self.least), L::splat(&raw const self.most));
            L::where_greater(x, least, L::where_greater(most, x, x, most), least)
        }
    }

    #[inline(always)]
    unsafe fn gradient<L: Lanes>(self, x: L::Vector, grad_output: L::Vector) -> L::Vector {
        // SAFETY: the caller's.
        unsafe {
            let (least, most) = (L::splat(&raw const self.least), L::splat(&raw const self.most));
            let below = L::where_greater(most, x, grad_output, L::zero());
            L::where_greater(x, least, below, L::zero())
        }
    }
}

/// The most vectors of a block.
const MOST: usize = 4;
/// The most lanes of a block.
const LANES: usize = 64;

/// Where a function's elements are.
#[derive(Clone, Copy)]
struct Places {
    inputs: [*const f32; 2],
    output: *mut f32,
}

impl Places {
    /// `elements` further on.
    ///
    /// # Safety
    /// They are there.
    #[inline(always)]
    unsafe fn add(self, elements: usize) -> Self {
        // SAFETY: the caller's.
        unsafe {
            Self { inputs: self.inputs.map(|input| input.add(elements)), output: self.output.add(elements) }
        }
    }
}

/// A function of `N` neighbouring vectors in each of `rows` rows.
struct Block<'a, F, K, const N: usize, const T: usize> {
    activation: K,
    numbers: &'a [[f32; LANES]; T],
    places: Places,
    rows: usize,
    /// From one row to the next.
    stride: usize,
    function: PhantomData<F>,
}

impl<F: Function<T>, K: Kind, const N: usize, const T: usize> Wide for Block<'_, F, K, N, T> {
    #[inline(always)]
    unsafe fn run<V: Vectors>(self) -> bool {
        let lanes = V::Wide::LANES;
        let Places { inputs: [mut first, mut second], mut output } = self.places;
        // SAFETY: whoever made the block saw to it that its elements are there, and a row of numbers has `LANES` of them.
        unsafe {
            let mut numbers = [[V::Wide::zero(); T]; N];
            for (n, numbers) in numbers.iter_mut().enumerate() {
                for (number, row) in numbers.iter_mut().zip(self.numbers) {
                    *number = V::Wide::load(row.as_ptr().add(n * lanes));
                }
            }
            for _ in 0..self.rows {
                for (n, &numbers) in numbers.iter().enumerate() {
                    let elements =
                        [V::Wide::load(first.add(n * lanes)), V::Wide::load(second.add(n * lanes))];
                    V::Wide::store(
                        output.add(n * lanes),
                        F::of::<V::Wide, K>(&self.activation, numbers, elements),
                    );
                }
                // After the last one, nothing is there.
                first = first.wrapping_add(self.stride);
                second = second.wrapping_add(self.stride);
                output = output.wrapping_add(self.stride);
            }
        }
        true
    }
}

/// The function `F` over all elements of a problem.
struct Elements<'p, 'a, F, K, C: Fn(usize) -> [f32; T], const T: usize> {
    problem: &'p mut PerChannel<'a, C, T>,
    activation: K,
    function: PhantomData<F>,
}

impl<F: Function<T>, K: Kind, C: Fn(usize) -> [f32; T], const T: usize> Wide
    for Elements<'_, '_, F, K, C, T>
{
    #[inline(always)]
    unsafe fn run<V: Vectors>(self) -> bool {
        let Self { problem: PerChannel { channels, table, inputs, output, .. }, activation, .. } = self;
        let (channels, count, lanes) = (*channels, output.len(), V::Wide::LANES);
        if channels == 0 || inputs.iter().flatten().any(|input| input.len() < count) {
            return false;
        }
        // Registers hold the numbers of a block, and half as much again.
        let most = (V::SUMS / T).clamp(1, MOST);
        // A row is as many pixels as fill whole vectors, or a few.
        let mut stride = channels;
        while stride % lanes != 0 {
            stride *= 2;
        }
        while stride * 2 <= most * lanes {
            stride *= 2;
        }
        let rows = count / stride;
        let start = output.as_mut_ptr();
        let places = Places {
            inputs: inputs.map(|input| input.map_or(start.cast_const(), <[f32]>::as_ptr)),
            output: start,
        };
        let mut numbers = [[0.0; LANES]; T];
        let mut first = 0;
        while first < stride && rows > 0 {
            let vectors = ((stride - first) / lanes).min(most);
            let vectors = if vectors == 3 { 2 } else { vectors };
            for lane in 0..vectors * lanes {
                for (row, number) in numbers.iter_mut().zip(table((first + lane) % channels)) {
                    if let Some(place) = row.get_mut(lane) {
                        *place = number;
                    }
                }
            }
            // SAFETY: the slices are as long as the output, of which a row and all rows are a part.
            unsafe {
                let places = places.add(first);
                macro_rules! block {
                    ($vectors:literal) => {
                        V::call(Block::<F, K, $vectors, T> {
                            activation,
                            numbers: &numbers,
                            places,
                            rows,
                            stride,
                            function: PhantomData,
                        })
                    };
                }
                match vectors {
                    4.. => block!(4),
                    2.. => block!(2),
                    _ => block!(1),
                };
            }
            first += vectors * lanes;
        }
        for index in rows * stride..count {
            // SAFETY: the slices are as long as the output.
            unsafe {
                let Places { inputs, output } = places.add(index);
                let elements = inputs.map(|input| *input);
                *output = F::of::<One, K>(&activation, table(index % channels), elements);
            }
        }
        true
    }
}

/// Runs `problem` as the function `F`, unless it says that it did not.
fn run<F: Function<T>, C: Fn(usize) -> [f32; T], const T: usize>(problem: &mut PerChannel<'_, C, T>) -> bool {
    macro_rules! with {
        ($activation:expr) => {
            super::run(Elements { activation: $activation, problem, function: PhantomData::<F> })
        };
    }
    match problem.activation {
        Activation::None => with!(Linear),
        Activation::Relu => with!(Rectified::<false> { alpha: 0.0 }),
        Activation::LeakyRelu { alpha } => with!(Rectified::<true> { alpha }),
        Activation::Relu6 => with!(Bounded { least: 0.0, most: 6.0 }),
        Activation::ReluN1To1 => with!(Bounded { least: -1.0, most: 1.0 }),
    }
}

/// `output = activation(x * scale + shift)`; a channel's numbers are `scale` and `shift`.
pub(crate) fn scale<C: Fn(usize) -> [f32; 2]>(problem: &mut PerChannel<'_, C, 2>) -> bool {
    run::<Scale, C, 2>(problem)
}

/// `output = scale * g + (slope * (x - mean) + constant)`, where `g` is the gradient (the second input) through the activation at
/// `x * scale + shift`; a channel's numbers are `mean`, `scale`, `shift`, `slope` and `constant`.
pub(crate) fn scale_gradient<C: Fn(usize) -> [f32; 5]>(problem: &mut PerChannel<'_, C, 5>) -> bool {
    run::<ScaleGradient, C, 5>(problem)
}
