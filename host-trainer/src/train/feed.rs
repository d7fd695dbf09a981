//! Samples of a data set as a network's inputs: augmented if trained on, normalized always.

use super::executor::{Feed, Pass, Targets};
use crate::data::{Augmenter, Dataset, Normalization, Split};

/// Feeds images and class labels; where values are asked for, each image is its own target, as for an autoencoder.
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
    fn fill(&self, pass: Pass, indices: &[u32], input: &mut [f32], mut targets: Targets<'_>) {
        let set = self.set(pass);
        for (position, input) in input.chunks_exact_mut(set.sample_len()).enumerate() {
            let index = indices.get(position).copied();
            match index.map(|index| (index, set.image(index as usize))) {
                None => input.fill(0.0),
                Some((index, image)) => match (pass, &self.augmenter) {
                    (Pass::Train { epoch }, Some(augmenter)) => {
                        augmenter.apply(image, self.seed, epoch, index, input);
                        self.normalization.apply_in_place(input);
                    }
                    _ => self.normalization.apply(image, input),
                },
            }
            if let Targets::Labels(labels) = &mut targets
                && let Some(label) = labels.get_mut(position)
            {
                *label = index.map_or(-1, |index| set.label(index as usize) as i32);
            }
        }
        if let Targets::Values(values) = targets {
            values.iter_mut().zip(input).for_each(|(value, input)| *value = *input);
        }
    }
}
