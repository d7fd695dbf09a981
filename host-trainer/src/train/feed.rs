//! Samples of a data set as a network's inputs: augmented and mixed if trained on, normalized always.

use std::cell::RefCell;

use super::executor::{Feed, Pass, Targets};
use super::teacher::Teacher;
use crate::data::{Augmenter, Dataset, Mixer, Mixing, Normalization, Split, Variation, dropout_key};

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
    /// The share of each class in each pixel: 1 for that of the mask, if it was not moved by this; of two classes, that of the second one alone.
    Masks(Option<&'d Augmenter>),
    /// The share of each class in the sample: 1 for its label, if it is not mixed.
    Classes,
    /// The share of each class, and a teacher's logits.
    Teacher(&'d Teacher<'d>),
}

thread_local! {
    /// The other one of two samples that are mixed.
    static OTHER: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    /// One class of a mask, before and after it was moved.
    static PLANE: RefCell<(Vec<u8>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
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

impl ImageFeed<'_> {
    /// Writes a sample's mask, `[H, W, C]`, moved as the sample is.
    fn mask(&self, pass: Pass, number: u32, augmenter: Option<&Augmenter>, values: &mut [f32]) {
        let set = self.set(pass);
        let Some(mask) = set.mask(number as usize % set.len()) else { return };
        let channels = values.len() / mask.len().max(1);
        // Of two classes, one channel says which.
        let first = usize::from(channels == 1);
        PLANE.with_borrow_mut(|(plane, moved)| {
            for channel in 0..channels {
                let class = channel + first;
                // What is moved in from outside of the image is of the class 0: that is what is not of any other.
                let is_marked =
                    |&found: &u8| if class == 0 { found != 0 } else { usize::from(found) == class };
                plane.clear();
                plane.extend(mask.iter().map(|found| if is_marked(found) { 255_u8 } else { 0 }));
                moved.resize(plane.len(), 0.0);
                if let (Pass::Train { epoch }, Some(augmenter)) = (pass, augmenter) {
                    augmenter.apply(plane, self.seed, epoch, number, moved);
                } else {
                    moved.iter_mut().zip(&*plane).for_each(|(to, &from)| *to = f32::from(from) / 255.0);
                }
                let places = values.iter_mut().skip(channel).step_by(channels);
                for (place, &share) in places.zip(&*moved) {
                    *place = if class == 0 { 1.0 - share } else { share };
                }
            }
        });
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
                        Values::Masks(augmenter) => {
                            self.mask(pass, number, augmenter, values);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Augmentation;

    #[test]
    fn masks_move_with_their_images() {
        // The image is its mask, so that what was moved alike is alike.
        let classes: Vec<u8> = (0..48).map(|pixel| u8::from(pixel % 8 > 3) + u8::from(pixel > 30)).collect();
        for count in [2, 3] {
            let mask: Vec<u8> = classes.iter().map(|&class| class.min(count - 1)).collect();
            let names = (0..count).map(|class| class.to_string()).collect();
            let image = mask.iter().map(|&class| if class == count - 1 { 255 } else { 0 }).collect();
            let set = Dataset::new("t", image, [6, 8, 1], vec![0], names).unwrap().with_masks(mask);
            let split = Split::new(set.clone(), set).unwrap();
            let settings =
                Augmentation { shift: 2.0, rotate: 30.0, flip_horizontal: 0.5, ..Augmentation::default() };
            let augmenter = Augmenter::new(settings, [6, 8, 1]).unwrap();
            let of_masks = Augmenter::new(settings.geometry(), [6, 8, 1]).unwrap();
            let same = Normalization::new(vec![0.0], vec![1.0]).unwrap();
            let feed = ImageFeed::new(&split, &same, Some(Variation::Image(augmenter)), 3);
            let feed = feed.values(Values::Masks(Some(&of_masks)));
            let channels = if count == 2 { 1 } else { 3 };
            for epoch in 0..5 {
                let (mut input, mut values) = (vec![0.0; 48], vec![0.0; 48 * channels]);
                feed.fill(Pass::Train { epoch }, &[0], &mut input, Targets::Values(&mut values));
                for (pixel, shares) in input.iter().zip(values.chunks_exact(channels)) {
                    assert!((shares[channels - 1] - pixel).abs() < 1e-6, "{epoch}: {shares:?} {pixel}");
                    let sum: f32 = shares.iter().sum();
                    assert!(channels == 1 || (sum - 1.0).abs() < 1e-5, "{epoch}: {shares:?}");
                }
            }
            let mut values = vec![0.0; 48 * channels];
            feed.fill(Pass::Validate, &[0], &mut [0.0; 48], Targets::Values(&mut values));
            let marked = classes.iter().filter(|&&class| count == 3 || class > 0).count();
            assert_eq!(values.iter().sum::<f32>(), marked as f32, "{values:?}");
        }
    }
}
