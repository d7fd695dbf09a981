//! Samples that are kept, so that learning the new does not displace the old.

use heapless::Vec;

/// A sample that is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample<T, const LENGTH: usize> {
    /// Its elements.
    pub input: [T; LENGTH],
    /// Its class.
    pub label: u8,
}

/// A buffer of `CAPACITY` samples of `LENGTH` elements, of up to `CLASSES` classes, as many of each as it can have.
///
/// Class-balancing reservoir sampling (A. Chrysakis, M.-F. Moens: *Online Continual Learning from Imbalanced Data*, ICML 2020): while there is room, every sample stays.
/// Later, one of a class that never had the most takes the place of one of the class that has; one of another class takes the place of one of its own, with
/// the probability that makes each of its class so far as likely to be here as any other.
///
/// Random numbers are `SplitMix64`'s: the same samples in the same order leave the same buffer everywhere.
#[derive(Clone, Debug)]
pub struct Replay<T, const LENGTH: usize, const CAPACITY: usize, const CLASSES: usize> {
    samples: Vec<Sample<T, LENGTH>, CAPACITY>,
    /// Samples that are here, by class.
    kept: [u32; CLASSES],
    /// Samples that were offered, by class.
    seen: [u32; CLASSES],
    /// Classes that had the most when the buffer was full.
    was_largest: [bool; CLASSES],
    random: u64,
}

impl<T: Copy, const LENGTH: usize, const CAPACITY: usize, const CLASSES: usize>
    Replay<T, LENGTH, CAPACITY, CLASSES>
{
    /// An empty buffer.
    pub const fn new(seed: u64) -> Self {
        Self {
            samples: Vec::new(),
            kept: [0; CLASSES],
            seen: [0; CLASSES],
            was_largest: [false; CLASSES],
            random: seed,
        }
    }

    /// Offers a sample. Returns whether it was kept; one of another length or of a class that there is not is not.
    pub fn offer(&mut self, input: &[T], label: u8) -> bool {
        let class = usize::from(label);
        let (Ok(input), Some(seen)) = (<[T; LENGTH]>::try_from(input), self.seen.get_mut(class)) else {
            return false;
        };
        *seen = seen.saturating_add(1);
        let seen = *seen;
        let sample = Sample { input, label };
        if self.samples.push(sample).is_ok() {
            self.count(class, 1);
            return true;
        }
        let most = self.kept.iter().copied().max().unwrap_or(0);
        for (flag, &kept) in self.was_largest.iter_mut().zip(&self.kept) {
            *flag |= kept == most;
        }
        let was_largest = self.was_largest.get(class).copied().unwrap_or(false);
        let victim_class = if was_largest {
            let kept = self.kept.get(class).copied().unwrap_or(0);
            if self.below(seen) >= kept {
                return false;
            }
            class
        } else {
            let largest = self.kept.iter().position(|&kept| kept == most);
            largest.unwrap_or(class)
        };
        let of_class = self.kept.get(victim_class).copied().unwrap_or(0);
        let chosen = self.below(of_class) as usize;
        let mut victims = self.samples.iter_mut().filter(|sample| usize::from(sample.label) == victim_class);
        let Some(victim) = victims.nth(chosen) else { return false };
        *victim = sample;
        self.count(victim_class, -1);
        self.count(class, 1);
        true
    }

    /// A random sample; `None` if there are none.
    pub fn draw(&mut self) -> Option<&Sample<T, LENGTH>> {
        let index = self.below(self.samples.len() as u32) as usize;
        self.samples.get(index)
    }

    /// The samples, in no particular order.
    pub fn samples(&self) -> &[Sample<T, LENGTH>] {
        &self.samples
    }

    /// How many samples of a class are here.
    pub fn kept(&self, class: u8) -> u32 {
        self.kept.get(usize::from(class)).copied().unwrap_or(0)
    }

    fn count(&mut self, class: usize, change: i32) {
        if let Some(kept) = self.kept.get_mut(class) {
            *kept = kept.saturating_add_signed(change);
        }
    }

    /// A number below `limit`, all about as likely; 0 for a limit of 0. (Lemire's multiplication, without the rejection: the bias is below `limit / 2^32`.)
    fn below(&mut self, limit: u32) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (((mixed >> 32) * u64::from(limit)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn rare_classes_keep_their_place() {
        let mut replay = Replay::<u16, 1, 12, 3>::new(1);
        for index in 0..300u16 {
            assert!(replay.offer(&[index], 0) || index >= 12);
        }
        assert_eq!([0, 1, 2].map(|class| replay.kept(class)), [12, 0, 0]);
        for index in 0..40 {
            replay.offer(&[index], 1);
        }
        for index in 0..4 {
            replay.offer(&[index], 2);
        }
        assert_eq!([0, 1, 2].map(|class| replay.kept(class)), [4, 4, 4]);
        assert_eq!(replay.samples().len(), 12);
    }

    #[test]
    fn each_sample_of_a_class_is_as_likely_to_stay() {
        // 4 of 20 places in 4000 runs: every sample stays in about 800; five standard deviations are 127.
        let mut stayed = [0; 20];
        for seed in 0..4000 {
            let mut replay = Replay::<u8, 1, 4, 1>::new(seed);
            (0..20).for_each(|index| {
                replay.offer(&[index], 0);
            });
            replay.samples().iter().for_each(|sample| stayed[usize::from(sample.input[0])] += 1);
        }
        assert!(stayed.iter().all(|count| (673..=927).contains(count)), "{stayed:?}");
    }

    #[test]
    fn what_does_not_fit_is_refused_and_draws_are_of_what_is_there() {
        let mut replay = Replay::<i8, 2, 3, 2>::new(9);
        assert!(replay.draw().is_none());
        assert!(!replay.offer(&[1], 0) && !replay.offer(&[1, 2, 3], 0) && !replay.offer(&[1, 2], 2));
        assert!(replay.samples().is_empty());
        for value in 0..3 {
            assert!(replay.offer(&[value, value], 1));
        }
        let drawn: Vec<i8> = (0..60).map(|_| replay.draw().unwrap().input[0]).collect();
        assert!((0..3).all(|value| drawn.iter().filter(|&&found| found == value).count() > 8), "{drawn:?}");
        let again = |seed| {
            let mut replay = Replay::<u8, 1, 8, 2>::new(seed);
            (0..200).for_each(|index| {
                replay.offer(&[index], index % 2);
            });
            replay.samples().to_vec()
        };
        assert_eq!(again(3), again(3));
        assert_ne!(again(3), again(4));
    }
}
