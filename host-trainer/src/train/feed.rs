//! Samples of a data set as a network's inputs: augmented if trained on, normalized always.

use super::executor::{Feed, Pass};
use crate::data::{Augmenter, Dataset, Normalization, Split};

/// Feeds images and class labels.
#[derive(Debug)]
pub struct ImageFeed<'d> {
    split: &'d Split,
    normalization: &'d Normalization,
    /// `None` if there is nothing to augment.
    augmenter: Option<Augmenter>,
    seed: u64,
}

impl<'d> ImageFeed<'d> {
    /// A feed of both sets of `split`. What is drawn for a sample depends on `seed`, the epoch and the sample only.
    pub fn new(
        split: &'d Split,
        normalization: &'d Normalization,
        augmenter: Option<Augmenter>,
        seed: u64,
    ) -> Self {
        Self { split, normalization, augmenter, seed }
    }

    fn set(&self, pass: Pass) -> &'d Dataset {
        match pass {
            Pass::Train { .. } | Pass::Validate => &self.split.train,
            Pass::Test => &self.split.test,
        }
    }
}

impl Feed for ImageFeed<'_> {
    fn fill(&self, pass: Pass, indices: &[u32], input: &mut [f32], labels: &mut [i32]) {
        let set = self.set(pass);
        let inputs = input.chunks_exact_mut(set.sample_len()).zip(labels);
        for (position, (input, label)) in inputs.enumerate() {
            let Some(&index) = indices.get(position) else {
                input.fill(0.0);
                *label = -1;
                continue;
            };
            let image = set.image(index as usize);
            *label = set.label(index as usize) as i32;
            match (pass, &self.augmenter) {
                (Pass::Train { epoch }, Some(augmenter)) => {
                    augmenter.apply(image, self.seed, epoch, index, input);
                    self.normalization.apply_in_place(input);
                }
                _ => self.normalization.apply(image, input),
            }
        }
    }
}
