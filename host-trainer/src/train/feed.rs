//! Samples of a data set as a network's inputs: augmented and mixed if trained on, normalized always.

use std::cell::RefCell;

use super::executor::{Feed, Pass, Targets};
use super::teacher::Teacher;
use crate::data::{Dataset, Mixer, Mixing, Normalization, Split, Variation, dropout_key};

/// Feeds images and class labels.
///
/// A sample may be given by a number beyond the data set's length: it is the sample at the number modulo the length, and what is drawn at random for it
/// is another one's.
#[derive(Debug)]
pub struct ImageFeed<'d> {
    split: &'d Split,
    normalization: &'d Normalization,
    /// `None` if there is nothing to augment.
    augmenter: Option<Variation>,
    seed: u64,
    /// How samples are mixed, and the ones that they may be mixed with.
    mixing: Option<(Mixer, Vec<u32>)>,
    values: Values<'d>,
}

/// What is fed where values are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub enum Values<'d> {
    /// The input, as for an autoencoder.
    #[default]
    Input,
    /// The share of each class in the sample: 1 for its label, if it is not mixed.
    Classes,
    /// The share of each class, and a teacher's logits.
    Teacher(&'d Teacher<'d>),
}

thread_local! {
    /// The other one of two samples that are mixed.
    static OTHER: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl<'d> ImageFeed<'d> {
    /// A feed of both sets of `split`. What is drawn for a sample depends on `seed`, the epoch and the sample only.
    pub fn new(
        split: &'d Split,
        normalization: &'d Normalization,
        augmenter: Option<Variation>,
        seed: u64,
    ) -> Self {
        Self { split, normalization, augmenter, seed, mixing: None, values: Values::Input }
    }

    /// Mixes the training samples with others of these.
    #[must_use]
    pub fn mixing(self, mixer: Option<Mixer>, samples: Vec<u32>) -> Self {
        Self { mixing: mixer.map(|mixer| (mixer, samples)), ..self }
    }

    /// Feeds these values where values are asked for.
    #[must_use]
    pub fn values(self, values: Values<'d>) -> Self {
        Self { values, ..self }
    }

    fn set(&self, pass: Pass) -> &'d Dataset {
        match pass {
            Pass::Train { .. } | Pass::Validate => &self.split.train,
            Pass::Test => &self.split.test,
        }
    }

    /// Writes one sample, and says with what it was mixed.
    fn input(&self, pass: Pass, number: u32, input: &mut [f32]) -> Option<(Mixing, u32)> {
        let set = self.set(pass);
        let image = |number: u32, set: &'d Dataset| set.image(number as usize % set.len());
        let (Pass::Train { epoch }, Some(augmenter)) = (pass, &self.augmenter) else {
            self.normalization.apply(image(number, set), input);
            return None;
        };
        let source = self.split.uncropped.as_ref().unwrap_or(set);
        let augment = |number, output: &mut [f32]| {
            augmenter.apply(image(number, source), self.seed, epoch, number, output);
        };
        augment(number, input);
        let mixed = self.mixing.as_ref().map(|(mixer, samples)| {
            let shape @ [height, width, _] = augmenter.shape();
            let mixing = mixer.draw(self.seed, epoch, number, samples.len() as u32, [height, width]);
            let partner = samples[mixing.partner as usize];
            OTHER.with_borrow_mut(|other| {
                other.resize(input.len(), 0.0);
                augment(partner, other);
                mixing.apply(input, other, shape);
            });
            (mixing, partner)
        });
        self.normalization.apply_in_place(input);
        mixed
    }
}

impl Feed for ImageFeed<'_> {
    fn keys(&self, pass: Pass, numbers: &[u32], keys: &mut [i32]) {
        let Pass::Train { epoch } = pass else { return };
        for (key, &number) in keys.as_chunks_mut::<2>().0.iter_mut().zip(numbers) {
            *key = dropout_key(self.seed, epoch, number);
        }
    }

    fn fill(&self, pass: Pass, numbers: &[u32], input: &mut [f32], mut targets: Targets<'_>) {
        let set = self.set(pass);
        let samples = input.len() / set.sample_len();
        let label = |number: u32| set.label(number as usize % set.len());
        for (position, input) in input.chunks_exact_mut(set.sample_len()).enumerate() {
            let number = numbers.get(position).copied();
            let mixed = match number {
                None => {
                    input.fill(0.0);
                    None
                }
                Some(number) => self.input(pass, number, input),
            };
            match &mut targets {
                Targets::Labels(labels) => {
                    if let Some(place) = labels.get_mut(position) {
                        *place = number.map_or(-1, |number| label(number).cast_signed());
                    }
                }
                Targets::Values(values) => {
                    let length = values.len() / samples.max(1);
                    let Some(values) = values.chunks_exact_mut(length.max(1)).nth(position) else { continue };
                    values.fill(0.0);
                    let Some(number) = number else {
                        values[0] = f32::NAN;
                        continue;
                    };
                    let classes = match self.values {
                        Values::Input => {
                            values.copy_from_slice(input);
                            continue;
                        }
                        Values::Classes => values,
                        Values::Teacher(teacher) => {
                            let (classes, logits) = values.split_at_mut(length / 2);
                            teacher.logits(input, logits);
                            classes
                        }
                    };
                    let share = mixed.map_or(1.0, |(mixing, _)| mixing.share);
                    classes[label(number) as usize] += share;
                    if let Some((_, partner)) = mixed {
                        classes[label(partner) as usize] += 1.0 - share;
                    }
                }
            }
        }
    }
}
