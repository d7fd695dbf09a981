use smidgen::frontend::AudioConfig;

use super::DataError;
use super::audio::{bytes_of_clip, frames_of};

/// Labelled samples of one shape and one byte per element, validated: each has one label, and each label names a class.
///
/// The elements are bytes because that is what image files hold; they become `f32` one sample at a time
/// ([`Normalization`](super::Normalization), [`Augmenter`](super::Augmenter)), which keeps the whole set small enough for the cache.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    name: String,
    samples: Vec<u8>,
    shape: [usize; 3],
    labels: Vec<u32>,
    class_names: Vec<String>,
    /// Of sound: what its features are.
    audio: Option<AudioConfig>,
    /// A class for each pixel, `[N, H, W]`; empty without masks.
    masks: Vec<u8>,
}

impl Dataset {
    /// A data set of clips, which lie in `clips` one after the other, each of as many samples as the frames of `config` cover. The shape is that of
    /// their features, `[frames, channels, 1]`.
    ///
    /// # Errors
    /// As [`Dataset::new`], or `config` is not valid.
    pub fn of_audio(
        name: impl Into<String>,
        clips: &[i16],
        config: AudioConfig,
        labels: Vec<u32>,
        class_names: Vec<String>,
    ) -> Result<Self, DataError> {
        config.check()?;
        let name = name.into();
        // As bytes of the clips' length, with all the checks; the shape is put right after them.
        let shape = [2 * config.input_samples(), 1, 1];
        let set = Self::new(name, bytes_of_clip(clips), shape, labels, class_names)?;
        Ok(Self { shape: frames_of(&config), audio: Some(config), ..set })
    }

    /// Of sound, what its features are.
    pub fn audio(&self) -> Option<&AudioConfig> {
        self.audio.as_ref()
    }

    /// Bytes of one sample as it is stored: an element each, or, of sound, two for each sample of the clip.
    pub fn raw_len(&self) -> usize {
        self.audio.map_or_else(|| self.sample_len(), |config| 2 * config.input_samples())
    }

    /// A dataset of `labels.len()` samples of `shape` `[H, W, C]`, which lie in `samples` one after the other, `[N, H, W, C]`.
    ///
    /// `name` is what messages and reports call it.
    ///
    /// # Errors
    /// There are no samples, no classes, or no elements in a sample; `samples` is not a whole number of samples; there is not one
    /// label for each sample; a label is not less than the number of classes.
    pub fn new(
        name: impl Into<String>,
        samples: Vec<u8>,
        shape: [usize; 3],
        labels: Vec<u32>,
        class_names: Vec<String>,
    ) -> Result<Self, DataError> {
        let name = name.into();
        Self::from_files(name.clone(), (&name, samples), shape, (&name, labels), class_names)
    }

    /// [`Dataset::new`] with the names of the two files, for the messages.
    pub(super) fn from_files(
        name: String,
        (images_from, samples): (&str, Vec<u8>),
        shape: [usize; 3],
        (labels_from, labels): (&str, Vec<u32>),
        class_names: Vec<String>,
    ) -> Result<Self, DataError> {
        let empty = |what| Err(DataError::EmptyDataset { dataset: images_from.to_owned(), what });
        let sample_len = shape.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
        let partial = DataError::PartialSample {
            dataset: images_from.to_owned(),
            found: samples.len(),
            sample_bytes: sample_len.map_or(u64::MAX, |length| length as u64),
            shape,
        };
        let Some(sample_len) = sample_len else { return Err(partial) };
        if sample_len == 0 {
            return empty("elements in a sample");
        }
        if samples.is_empty() {
            return empty("samples");
        }
        if class_names.is_empty() {
            return empty("classes");
        }
        if !samples.len().is_multiple_of(sample_len) {
            return Err(partial);
        }
        let count = samples.len() / sample_len;
        if count != labels.len() {
            return Err(DataError::CountMismatch {
                images_from: images_from.to_owned(),
                images: count as u64,
                labels_from: labels_from.to_owned(),
                labels: labels.len() as u64,
            });
        }
        if let Some(record) = labels.iter().position(|&label| label as usize >= class_names.len()) {
            return Err(DataError::LabelOutOfRange {
                labels_from: labels_from.to_owned(),
                record: record as u64,
                label: labels[record],
                classes: class_names.len(),
            });
        }
        Ok(Self { name, samples, shape, labels, class_names, audio: None, masks: Vec::new() })
    }

    /// What messages and reports call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many samples there are, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a dataset is never empty")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The shape `[H, W, C]` of one sample.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// How many elements one sample has: `H * W * C`, at least 1.
    pub fn sample_len(&self) -> usize {
        self.shape.iter().product()
    }

    /// One sample, `[H, W, C]`; of sound, the clip's bytes.
    ///
    /// # Panics
    /// If `index` is not less than [`len`](Self::len).
    pub fn image(&self, index: usize) -> &[u8] {
        let length = self.raw_len();
        &self.samples[index * length..(index + 1) * length]
    }

    /// The same samples with a class for each pixel, `[N, H, W]`, each less than the number of classes.
    pub(crate) fn with_masks(self, masks: Vec<u8>) -> Self {
        Self { masks, ..self }
    }

    /// The classes of one sample's pixels, `[H, W]`, if it has a mask.
    pub fn mask(&self, index: usize) -> Option<&[u8]> {
        let [height, width, _] = self.shape;
        self.masks.get(index * height * width..(index + 1) * height * width)
    }

    /// The class of one sample, less than the number of [`class_names`](Self::class_names).
    ///
    /// # Panics
    /// If `index` is not less than [`len`](Self::len).
    pub fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    /// All samples, `[N, H, W, C]`.
    pub fn samples(&self) -> &[u8] {
        &self.samples
    }

    /// All labels, `[N]`.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The names of the classes; a label is an index into them.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The same samples' centres, of `[height, width]`; of an odd rest the smaller half is above and to the left.
    ///
    /// # Errors
    /// The samples are smaller.
    pub fn centre(&self, [height, width]: [usize; 2]) -> Result<Self, DataError> {
        let [source_h, source_w, channels] = self.shape;
        for (name, wanted, there) in
            [("data.crop (height)", height, source_h), ("data.crop (width)", width, source_w)]
        {
            if wanted == 0 || wanted > there {
                let expected = "at least 1 and not more than the images have";
                return Err(DataError::Setting { name, found: wanted as f32, expected });
            }
        }
        let (top, left) = ((source_h - height) / 2, (source_w - width) / 2);
        let mut samples = Vec::with_capacity(self.len() * height * width * channels);
        for image in self.samples.chunks_exact(self.sample_len()) {
            for row in image.chunks_exact(source_w * channels).skip(top).take(height) {
                samples.extend_from_slice(&row[left * channels..(left + width) * channels]);
            }
        }
        let shape = [height, width, channels];
        Self::new(self.name.clone(), samples, shape, self.labels.clone(), self.class_names.clone())
    }

    /// The same samples among these classes, which have its own ones.
    ///
    /// # Errors
    /// A class is not among them.
    pub(super) fn among(self, classes: &[String]) -> Result<Self, DataError> {
        let place = |name: &String| {
            let found = classes.iter().position(|class| class == name);
            found.ok_or_else(|| DataError::NoSuchClass { class: name.clone(), known: classes.to_vec() })
        };
        let places = self.class_names.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        let labels = self.labels.iter().map(|&label| places[label as usize] as u32).collect();
        Ok(Self { labels, class_names: classes.to_vec(), ..self })
    }

    /// A dataset of the samples at `indices`, in that order: a part for validation or calibration, or the first few for a quick run.
    ///
    /// # Errors
    /// `indices` is empty, or one of them is not less than [`len`](Self::len).
    pub fn select(&self, name: impl Into<String>, indices: &[u32]) -> Result<Self, DataError> {
        let mut samples = Vec::with_capacity(indices.len().saturating_mul(self.raw_len()));
        let (mut labels, mut masks) = (Vec::with_capacity(indices.len()), Vec::new());
        for &index in indices {
            let Some(&label) = self.labels.get(index as usize) else {
                return Err(DataError::NoSuchSample {
                    dataset: self.name.clone(),
                    index,
                    samples: self.len(),
                });
            };
            samples.extend_from_slice(self.image(index as usize));
            masks.extend_from_slice(self.mask(index as usize).unwrap_or_default());
            labels.push(label);
        }
        let flat = [self.raw_len(), 1, 1];
        let part = Self::new(name, samples, flat, labels, self.class_names.clone())?;
        Ok(Self { shape: self.shape, audio: self.audio, masks, ..part })
    }
}

/// A training set and the test set that belongs to it: samples of the same shape, in the same classes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Split {
    /// What the network learns from.
    pub train: Dataset,
    /// What it is judged by, and never sees before.
    pub test: Dataset,
    /// The training samples before their centres were cut out, if random places are to be cut out of them.
    pub uncropped: Option<Dataset>,
    /// Of sound: background noise to mix in, at the rate of the samples. Empty without any.
    pub background: Vec<Vec<i16>>,
}

impl Split {
    /// A split of two datasets.
    ///
    /// # Errors
    /// Their samples differ in shape, or their class names differ.
    pub fn new(train: Dataset, test: Dataset) -> Result<Self, DataError> {
        if train.shape != test.shape || train.class_names != test.class_names || train.audio != test.audio {
            return Err(DataError::SplitMismatch {
                train: train.name,
                train_shape: train.shape,
                train_classes: train.class_names.len(),
                test: test.name,
                test_shape: test.shape,
                test_classes: test.class_names.len(),
            });
        }
        Ok(Self { train, test, uncropped: None, background: Vec::new() })
    }

    /// The same split without the training samples of these classes. The test set keeps them.
    ///
    /// # Errors
    /// There is no such class, or nothing is left.
    pub fn leaving_out(self, classes: &[String]) -> Result<Self, DataError> {
        self.training_on(classes, false)
    }

    /// The same split with the training samples of these classes only; all without any. The test set keeps the others.
    ///
    /// # Errors
    /// There is no such class, or nothing is left.
    pub fn keeping(self, classes: &[String]) -> Result<Self, DataError> {
        self.training_on(classes, true)
    }

    /// The same split with the training samples that are of one of these classes, or of none of them.
    fn training_on(self, classes: &[String], of_these: bool) -> Result<Self, DataError> {
        if classes.is_empty() {
            return Ok(self);
        }
        let names = self.train.class_names();
        if let Some(class) = classes.iter().find(|class| !names.contains(class)) {
            return Err(DataError::NoSuchClass { class: class.clone(), known: names.to_vec() });
        }
        let is_kept =
            |&index: &u32| classes.contains(&names[self.train.label(index as usize) as usize]) == of_these;
        let kept: Vec<u32> = (0..self.train.len() as u32).filter(is_kept).collect();
        let part = |set: &Dataset| set.select(set.name(), &kept);
        Ok(Self {
            train: part(&self.train)?,
            uncropped: self.uncropped.as_ref().map(part).transpose()?,
            test: self.test,
            background: self.background,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: u32) -> Vec<String> {
        (0..count).map(|class| class.to_string()).collect()
    }

    fn small() -> Dataset {
        Dataset::new("small", (0..12).collect(), [1, 2, 2], vec![0, 1, 1], names(2)).unwrap()
    }

    #[test]
    fn hands_out_each_sample_with_its_label() {
        let set = small();
        assert_eq!((set.len(), set.sample_len(), set.shape()), (3, 4, [1, 2, 2]));
        assert_eq!(set.image(1), [4, 5, 6, 7]);
        assert_eq!(set.labels(), [0, 1, 1]);
        assert_eq!(set.label(2), 1);
    }

    #[test]
    fn the_centre_is_cut_out() {
        let set = Dataset::new("set", (0..30).collect(), [3, 5, 2], vec![0], names(1)).unwrap();
        assert_eq!(set.centre([2, 2]).unwrap().samples(), [2, 3, 4, 5, 12, 13, 14, 15]);
        assert!(matches!(set.centre([4, 1]), Err(DataError::Setting { name: "data.crop (height)", .. })));
    }

    #[test]
    fn selects_in_the_given_order() {
        let part = small().select("part", &[2, 0]).unwrap();
        assert_eq!(part.samples(), [8, 9, 10, 11, 0, 1, 2, 3]);
        assert_eq!(part.labels(), [1, 0]);
        let error = small().select("part", &[0, 3]).unwrap_err();
        assert!(matches!(error, DataError::NoSuchSample { index: 3, samples: 3, .. }), "{error}");
        assert!(matches!(small().select("part", &[]), Err(DataError::EmptyDataset { what: "samples", .. })));
    }

    #[test]
    fn refuses_counts_that_differ() {
        let error = Dataset::new("set", vec![0; 8], [2, 2, 1], vec![0; 3], names(1)).unwrap_err();
        assert!(matches!(error, DataError::CountMismatch { images: 2, labels: 3, .. }), "{error}");
    }

    #[test]
    fn refuses_a_label_without_a_class() {
        let error = Dataset::new("set", vec![0; 8], [2, 2, 1], vec![0, 2], names(2)).unwrap_err();
        assert!(
            matches!(error, DataError::LabelOutOfRange { record: 1, label: 2, classes: 2, .. }),
            "{error}"
        );
    }

    #[test]
    fn refuses_what_is_empty() {
        let what = |error| match error {
            DataError::EmptyDataset { what, .. } => what,
            other => panic!("{other}"),
        };
        assert_eq!(what(Dataset::new("set", vec![], [2, 2, 1], vec![], names(2)).unwrap_err()), "samples");
        assert_eq!(what(Dataset::new("set", vec![0; 4], [2, 2, 1], vec![0], vec![]).unwrap_err()), "classes");
        let no_elements = Dataset::new("set", vec![], [2, 0, 1], vec![0], names(1)).unwrap_err();
        assert_eq!(what(no_elements), "elements in a sample");
    }

    #[test]
    fn refuses_part_of_a_sample_and_a_shape_that_overflows() {
        let error = Dataset::new("set", vec![0; 7], [2, 2, 1], vec![0, 0], names(1)).unwrap_err();
        assert!(matches!(error, DataError::PartialSample { found: 7, sample_bytes: 4, .. }), "{error}");
        let error = Dataset::new("set", vec![0; 7], [usize::MAX, 2, 1], vec![0], names(1)).unwrap_err();
        assert!(matches!(error, DataError::PartialSample { .. }), "{error}");
    }

    #[test]
    fn classes_are_left_out_of_the_training_set() {
        let split = Split::new(small(), small()).unwrap();
        let part = split.clone().leaving_out(&["1".into()]).unwrap();
        assert_eq!((part.train.labels(), part.train.samples()), (&[0][..], &[0, 1, 2, 3][..]));
        let part_of_zeros = part.clone();
        assert_eq!((part.test, part.train.class_names().len()), (small(), 2));
        assert_eq!(split.clone().leaving_out(&[]).unwrap(), split);
        assert_eq!(split.clone().keeping(&["0".into()]).unwrap(), part_of_zeros);
        let error = split.clone().leaving_out(&["2".into()]).unwrap_err().to_string();
        assert_eq!(error, "there is no class 2, only 0, 1");
        let error = split.leaving_out(&["0".into(), "1".into()]).unwrap_err();
        assert!(matches!(error, DataError::EmptyDataset { .. }), "{error}");
    }

    #[test]
    fn a_split_needs_one_shape_and_one_list_of_classes() {
        assert!(Split::new(small(), small()).is_ok());
        let other_shape = Dataset::new("other", vec![0; 4], [2, 2, 1], vec![0], names(2)).unwrap();
        assert!(matches!(Split::new(small(), other_shape), Err(DataError::SplitMismatch { .. })));
        let other_classes = Dataset::new("other", vec![0; 4], [1, 2, 2], vec![0], names(3)).unwrap();
        assert!(matches!(Split::new(small(), other_classes), Err(DataError::SplitMismatch { .. })));
    }
}
