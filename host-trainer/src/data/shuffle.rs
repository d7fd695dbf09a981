use super::random::{Use, below, generator};

/// Fills `order` with the numbers from 0 to its length less one, in the order in which this epoch visits the samples.
///
/// The permutation is a function of `seed`, `epoch` and the length alone (Fisher and Yates's method, drawn from xoshiro256++), the
/// same on every machine, and of all permutations each is equally likely.
///
/// # Panics
/// If `order` has more than `u32::MAX` elements.
///
/// ```
/// # use smidgen_trainer::data::epoch_order;
/// let mut order = [0; 5];
/// epoch_order(42, 0, &mut order);
/// let first = order;
/// order.sort();
/// assert_eq!(order, [0, 1, 2, 3, 4]);
/// epoch_order(42, 0, &mut order);
/// assert_eq!(order, first);
/// ```
pub fn epoch_order(seed: u64, epoch: u32, order: &mut [u32]) {
    assert!(u32::try_from(order.len()).is_ok(), "more samples than a u32 can number");
    for (slot, index) in order.iter_mut().zip(0..) {
        *slot = index;
    }
    let mut random = generator(seed, Use::Shuffle, epoch, 0);
    for last in (1..order.len()).rev() {
        let chosen = below(&mut random, last as u32 + 1);
        order.swap(last, chosen as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(seed: u64, epoch: u32, length: usize) -> Vec<u32> {
        let mut order = vec![0; length];
        epoch_order(seed, epoch, &mut order);
        order
    }

    #[test]
    fn is_a_permutation_of_any_length() {
        for length in [0, 1, 2, 3, 1000] {
            let mut sorted = order(3, 1, length);
            sorted.sort_unstable();
            assert!(sorted.iter().copied().eq(0..length as u32));
        }
    }

    #[test]
    fn depends_on_seed_and_epoch_and_on_nothing_else() {
        assert_eq!(order(3, 1, 100), order(3, 1, 100));
        assert_ne!(order(3, 1, 100), order(3, 2, 100));
        assert_ne!(order(3, 1, 100), order(4, 1, 100));
    }

    /// Pins the sequence: a change here changes every trained network.
    #[test]
    fn the_order_is_pinned() {
        assert_eq!(order(42, 0, 10), [3, 7, 5, 2, 4, 0, 1, 8, 9, 6]);
    }

    #[test]
    fn each_permutation_is_equally_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..24_000 {
            *counts.entry(order(9, epoch, 4)).or_insert(0_u32) += 1;
        }
        assert_eq!(counts.len(), 24);
        // The standard deviation of a count is 31.
        assert!(counts.values().all(|count| count.abs_diff(1000) < 155), "{counts:?}");
    }
}
