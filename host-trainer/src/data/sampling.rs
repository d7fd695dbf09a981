//! Which samples an epoch visits.

use serde::{Deserialize, Serialize};

use super::epoch_order;
use super::random::{Use, below, generator};

/// How often samples come in an epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Each once.
    #[default]
    Shuffle,
    /// As many in all as there are, of each class equally many: of frequent classes some are left out, of rare ones some come again.
    Balanced,
    /// Of each class as many as the most frequent one has: nothing is left out.
    OverSample,
}

/// The samples of each epoch.
///
/// A sample that comes again in an epoch has another *number*: its index plus a multiple of the number of samples of the data set, so that what is
/// drawn at random for it differs.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    samples: Vec<u32>,
    /// Samples of each class that has any.
    classes: Vec<Vec<u32>>,
    /// Samples of the data set.
    total: u32,
    places: Vec<u32>,
    unordered: Vec<u32>,
}

impl Sampler {
    /// A sampler of `samples`, indices into a data set with these labels.
    pub fn new(sampling: Sampling, samples: Vec<u32>, labels: &[u32]) -> Self {
        let mut classes = Vec::new();
        if sampling != Sampling::Shuffle {
            let count = labels.iter().max().map_or(0, |&label| label as usize + 1);
            classes.resize(count, Vec::new());
            for &sample in &samples {
                classes[labels[sample as usize] as usize].push(sample);
            }
            classes.retain(|members| !members.is_empty());
        }
        let total = labels.len() as u32;
        let mut sampler =
            Self { sampling, samples, classes, total, places: Vec::new(), unordered: Vec::new() };
        sampler.places = vec![0; sampler.epoch_len()];
        sampler
    }

    /// Samples in an epoch.
    pub fn epoch_len(&self) -> usize {
        let largest = self.classes.iter().map(Vec::len).max().unwrap_or(0);
        match self.sampling {
            Sampling::Shuffle | Sampling::Balanced => self.samples.len(),
            Sampling::OverSample => largest * self.classes.len(),
        }
    }

    /// Fills `order` with the numbers of the epoch's samples: a function of seed and epoch.
    ///
    /// # Panics
    /// If `order` is not [`Self::epoch_len`] long.
    pub fn fill(&mut self, seed: u64, epoch: u32, order: &mut [u32]) {
        assert_eq!(order.len(), self.places.len(), "length of an epoch");
        epoch_order(seed, epoch, &mut self.places);
        if self.sampling != Sampling::Shuffle {
            self.draw(seed, epoch);
        }
        let drawn = if self.sampling == Sampling::Shuffle { &self.samples } else { &self.unordered };
        for (slot, &place) in order.iter_mut().zip(&self.places) {
            *slot = drawn[place as usize];
        }
    }

    /// The epoch's samples, class by class.
    fn draw(&mut self, seed: u64, epoch: u32) {
        let Self { classes, unordered, places, total, .. } = self;
        unordered.clear();
        let (length, count) = (places.len(), classes.len().max(1));
        let most_often = (u32::MAX / (*total).max(1)) as usize;
        for (index, members) in classes.iter_mut().enumerate() {
            // Where the length is not a multiple of the number of classes, the epochs take turns.
            let turn = (index + epoch as usize) % count;
            let wanted = length / count + usize::from(turn < length % count);
            let mut random = generator(seed, Use::Class, epoch, index as u32);
            for place in 0..wanted {
                let at = place % members.len();
                // A shuffle that begins anew with each round, as far as it is needed.
                let other = at + below(&mut random, (members.len() - at) as u32) as usize;
                members.swap(at, other);
                let round = (place / members.len()) % most_often.max(1);
                unordered.push(members[at] + round as u32 * *total);
            }
            members.sort_unstable();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 60 samples of class 0, 30 of class 2, 6 of class 3, none of class 1; the first two are held out.
    fn sampler(sampling: Sampling) -> (Sampler, Vec<u32>) {
        let labels: Vec<u32> = [(0, 62), (2, 30), (3, 6)].iter().flat_map(|&(c, n)| vec![c; n]).collect();
        (Sampler::new(sampling, (2..98).collect(), &labels), labels)
    }

    fn epoch(sampler: &mut Sampler, epoch: u32) -> Vec<u32> {
        let mut order = vec![0; sampler.epoch_len()];
        sampler.fill(7, epoch, &mut order);
        order
    }

    fn counts(order: &[u32], labels: &[u32]) -> Vec<usize> {
        [0, 1, 2, 3].map(|class| order.iter().filter(|&&n| labels[n as usize % 98] == class).count()).to_vec()
    }

    #[test]
    fn a_shuffle_is_the_epoch_s_order() {
        let (mut sampler, _) = sampler(Sampling::Shuffle);
        let mut expected = vec![0; 96];
        epoch_order(7, 3, &mut expected);
        expected.iter_mut().for_each(|place| *place += 2);
        assert_eq!(epoch(&mut sampler, 3), expected);
    }

    #[test]
    fn classes_come_equally_often() {
        for (sampling, each) in [(Sampling::Balanced, 32), (Sampling::OverSample, 60)] {
            let (mut sampler, labels) = sampler(sampling);
            let orders = [0, 1].map(|index| epoch(&mut sampler, index));
            for order in &orders {
                assert_eq!(counts(order, &labels), [each, 0, each, each], "{sampling:?}");
                assert!(order.iter().all(|number| number % 98 >= 2), "held out");
                // No number comes twice, and each sample of the rare class comes.
                let distinct: std::collections::BTreeSet<_> = order.iter().collect();
                assert_eq!(distinct.len(), order.len());
                assert!((92..98).all(|sample| order.contains(&sample)));
            }
            assert_ne!(orders[0], orders[1]);
            assert_eq!(epoch(&mut sampler, 0), orders[0], "what came before does not matter");
        }
    }

    #[test]
    fn what_over_sampling_visits_is_everything() {
        let (mut sampler, _) = sampler(Sampling::OverSample);
        let order = epoch(&mut sampler, 5);
        assert!((2..98).all(|sample| order.contains(&sample)));
    }
}
