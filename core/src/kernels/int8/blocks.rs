//! Blocks of dot products on the plain layout, for processors whose multiplications are single ones: Armv6-M and Armv7-M.
//!
//! Two inputs times two rows of weights: four loads go with four multiplications, where one input times one row needs two loads for one. More does not
//! fit into the registers of a Cortex-M0, whose loads and multiplications reach only eight.

/// Whether this processor has such a block that is faster than what the compiler makes.
pub(crate) const FAST: bool = cfg!(any(arm_v6m, arm_v7m));

#[cfg(any(arm_v6m, arm_v7m))]
pub(crate) use super::scalar::blocks::add_dots;

/// Adds to `sums` the dot products of two inputs with two rows of weights: of the first input with the first row, with the second row, then of the second
/// input. `inputs` is both inputs, one after the other, `weights` both rows, of the same length. Sums wrap.
///
/// Adds nothing if the lengths differ.
#[cfg(not(any(arm_v6m, arm_v7m)))]
pub(crate) fn add_dots(inputs: &[i8], weights: &[i8], sums: &mut [i32; 4]) {
    if inputs.len() != weights.len() {
        return;
    }
    let length = inputs.len() / 2;
    let ((a, b), (v, w)) = (inputs.split_at(length), weights.split_at(length));
    let [av, aw, bv, bw] = sums;
    for ((&a, &b), (&v, &w)) in a.iter().zip(b).zip(v.iter().zip(w)) {
        let [a, b, v, w] = [a, b, v, w].map(i32::from);
        *av = av.wrapping_add(a * v);
        *aw = aw.wrapping_add(a * w);
        *bv = bv.wrapping_add(b * v);
        *bw = bw.wrapping_add(b * w);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::int8::reference::Random;

    #[test]
    fn equals_the_definition() {
        let mut random = Random(90);
        for _ in 0..300 {
            let length = random.size(1, 100);
            let [inputs, weights] = core::array::from_fn(|_| random.bytes(2 * length));
            let first: [i32; 4] = core::array::from_fn(|_| random.range(-1000, 1000) as i32);
            let mut sums = first;
            add_dots(&inputs, &weights, &mut sums);
            let dot = |input: usize, row: usize| {
                let (x, y) = (&inputs[input * length..], &weights[row * length..]);
                x.iter().zip(y).take(length).map(|(&x, &y)| i32::from(x) * i32::from(y)).sum::<i32>()
            };
            let expected = [dot(0, 0), dot(0, 1), dot(1, 0), dot(1, 1)];
            assert_eq!(sums, core::array::from_fn(|i| first[i] + expected[i]));
            add_dots(&inputs[1..], &weights, &mut sums);
            assert_eq!(sums, core::array::from_fn(|i| first[i] + expected[i]), "the lengths differ");
        }
    }
}
