use smidgen::frontend::{Audio, AudioConfig};

use super::audio::features_of_bytes;
use super::{DataError, Dataset};

/// The greatest value of a byte: it stands for 1.0, 0 for 0.0.
const FULL_SCALE: f32 = 255.0;

/// Brings each channel to mean 0 and standard deviation 1: `(x / 255 - mean) / std` of a byte `x`, all in `f32`.
///
/// A byte goes through a table of 256 entries per channel, which hold just what the formula gives, so both ways
/// ([`apply`](Self::apply), [`apply_in_place`](Self::apply_in_place)) agree to the bit, here and on a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalization {
    mean: Vec<f32>,
    std: Vec<f32>,
    /// `[C, 256]`
    table: Vec<f32>,
    /// Of sound: the front end, and mean and scale of each channel of its features as a model file has them.
    audio: Option<(AudioConfig, Vec<u8>)>,
}

impl Normalization {
    /// The mean and the (population) standard deviation of each channel of a training set, of values from 0 to 1.
    ///
    /// The sums are exact integers, so the result depends on the order of nothing; it is rounded to `f32` once, at the end.
    ///
    /// # Errors
    /// A channel has one value everywhere: its standard deviation is 0.
    pub fn of(train: &Dataset) -> Result<Self, DataError> {
        let [_, _, channels] = train.shape();
        let pixels = (train.samples().len() / channels) as u128;
        let scale = f64::from(FULL_SCALE);
        let (mut mean, mut std) = (Vec::with_capacity(channels), Vec::with_capacity(channels));
        for channel in 0..channels {
            let (mut sum, mut sum_of_squares) = (0_u64, 0_u64);
            for &value in train.samples().iter().skip(channel).step_by(channels) {
                let value = u64::from(value);
                sum += value;
                sum_of_squares += value * value;
            }
            // The variance times the square of the number of pixels; not negative, by Cauchy and Schwarz.
            let spread = pixels * u128::from(sum_of_squares) - u128::from(sum) * u128::from(sum);
            if spread == 0 {
                return Err(DataError::ConstantChannel {
                    dataset: train.name().to_owned(),
                    channel,
                    value: train.samples()[channel],
                });
            }
            mean.push((sum as f64 / pixels as f64 / scale) as f32);
            std.push((libm::sqrt(spread as f64) / pixels as f64 / scale) as f32);
        }
        Ok(Self::tabulate(mean, std))
    }

    /// One mean and one standard deviation for all channels, as a model file holds them: of [`Self::of`] the mean, and the root of the
    /// mean variance.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn of_all_channels(train: &Dataset) -> Result<Self, DataError> {
        if let Some(config) = train.audio() {
            return Ok(Self::of_features(train, *config));
        }
        let each = Self::of(train)?;
        let count = each.mean.len();
        let mean_of = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / count as f64;
        let mean = mean_of(&mut each.mean.iter().map(|&mean| mean.into())) as f32;
        let variance = mean_of(&mut each.std.iter().map(|&std| f64::from(std) * f64::from(std)));
        let std = if count == 1 { each.std[0] } else { libm::sqrt(variance) as f32 };
        Ok(Self::tabulate(vec![mean; count], vec![std; count]))
    }

    /// Mean and standard deviation of each channel of the features of a data set of sound.
    fn of_features(train: &Dataset, config: AudioConfig) -> Self {
        let channels = config.channels();
        let (mut sums, mut squares) = (vec![0.0_f64; channels], vec![0.0_f64; channels]);
        let mut features = vec![0.0; train.sample_len()];
        for index in 0..train.len() {
            features_of_bytes(&Audio { config, normalization: &[] }, train.image(index), &mut features);
            for row in features.chunks_exact(channels) {
                for ((sum, square), &value) in sums.iter_mut().zip(&mut squares).zip(row) {
                    *sum += f64::from(value);
                    *square += f64::from(value) * f64::from(value);
                }
            }
        }
        let count = (train.len() * config.frames as usize) as f64;
        let (mut mean, mut std, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
        for (sum, square) in sums.into_iter().zip(squares) {
            let average = sum / count;
            // A channel without a bin is the same everywhere; dividing by what is left of rounding would make noise of it.
            let deviation = libm::sqrt((square / count - average * average).max(0.0)).max(1e-3);
            mean.push(average as f32);
            std.push(deviation as f32);
            bytes.extend([average as f32, (1.0 / deviation) as f32].into_iter().flat_map(f32::to_le_bytes));
        }
        Self { mean, std, table: Vec::new(), audio: Some((config, bytes)) }
    }

    /// Of sound, the front end and what it normalizes with.
    pub fn audio(&self) -> Option<Audio<'_>> {
        self.audio.as_ref().map(|(config, normalization)| Audio { config: *config, normalization })
    }

    /// A normalization with this mean and standard deviation per channel, `[C]` each, of values from 0 to 1.
    ///
    /// # Errors
    /// A mean is not finite; a standard deviation is not finite, or is less than 1e-6 (nothing measured in steps of 1/255 is).
    ///
    /// # Panics
    /// If the two differ in length.
    pub fn new(mean: Vec<f32>, std: Vec<f32>) -> Result<Self, DataError> {
        assert_eq!(mean.len(), std.len(), "one mean and one standard deviation per channel");
        if let Some(&found) = mean.iter().find(|value| !value.is_finite()) {
            return Err(DataError::Setting { name: "mean", found, expected: "a finite number" });
        }
        if let Some(&found) = std.iter().find(|value| !(value.is_finite() && **value >= 1e-6)) {
            return Err(DataError::Setting {
                name: "std",
                found,
                expected: "a finite number of at least 1e-6",
            });
        }
        Ok(Self::tabulate(mean, std))
    }

    fn tabulate(mean: Vec<f32>, std: Vec<f32>) -> Self {
        let table = mean
            .iter()
            .zip(&std)
            .flat_map(|(&mean, &std)| {
                (0..=255_u8).map(move |byte| normalize(f32::from(byte) / FULL_SCALE, mean, std))
            })
            .collect();
        Self { mean, std, table, audio: None }
    }

    /// The mean of each channel, `[C]`, of values from 0 to 1.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// The standard deviation of each channel, `[C]`, of values from 0 to 1.
    pub fn std(&self) -> &[f32] {
        &self.std
    }

    /// Normalizes bytes, `[.., C]`, into `output` of the same length; of sound, computes a clip's features.
    ///
    /// # Panics
    /// If the lengths differ or are not a multiple of the number of channels.
    pub fn apply(&self, bytes: &[u8], output: &mut [f32]) {
        if let Some(audio) = self.audio() {
            return features_of_bytes(&audio, bytes, output);
        }
        let channels = self.mean.len();
        assert_eq!(bytes.len(), output.len(), "output length");
        assert!(bytes.len().is_multiple_of(channels), "whole pixels");
        if channels == 1 {
            for (&byte, output) in bytes.iter().zip(output) {
                *output = self.table[usize::from(byte)];
            }
            return;
        }
        for (bytes, output) in bytes.chunks_exact(channels).zip(output.chunks_exact_mut(channels)) {
            for ((&byte, output), table) in bytes.iter().zip(output).zip(self.table.chunks_exact(256)) {
                *output = table[usize::from(byte)];
            }
        }
    }

    /// Normalizes values from 0 to 1, `[.., C]`, such as an [`Augmenter`](super::Augmenter) gives.
    ///
    /// Features of sound are normalized already.
    ///
    /// # Panics
    /// If the length is not a multiple of the number of channels.
    pub fn apply_in_place(&self, values: &mut [f32]) {
        if self.audio.is_some() {
            return;
        }
        let channels = self.mean.len();
        assert!(values.len().is_multiple_of(channels), "whole pixels");
        for pixel in values.chunks_exact_mut(channels) {
            for ((value, &mean), &std) in pixel.iter_mut().zip(&self.mean).zip(&self.std) {
                *value = normalize(*value, mean, std);
            }
        }
    }
}

fn normalize(value: f32, mean: f32, std: f32) -> f32 {
    (value - mean) / std
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(samples: Vec<u8>, shape: [usize; 3]) -> Dataset {
        let count = samples.len() / shape.iter().product::<usize>();
        Dataset::new("set", samples, shape, vec![0; count], vec!["only".into()]).unwrap()
    }

    #[test]
    fn measures_each_channel() {
        // Channel 0: 0 and 255, twice each. Channel 1: 51, 51, 51, 255.
        let set = set(vec![0, 51, 255, 51, 0, 51, 255, 255], [1, 2, 2]);
        let normalization = Normalization::of(&set).unwrap();
        assert_eq!(normalization.mean(), [0.5, 0.4]);
        // Deviations -0.2 three times and 0.6 once: the variance is 0.12.
        assert_eq!(normalization.std(), [0.5, 0.12_f64.sqrt() as f32]);
    }

    #[test]
    fn all_channels_share_what_a_model_file_holds() {
        let two = set(vec![0, 51, 255, 51, 0, 51, 255, 255], [1, 2, 2]);
        let all = Normalization::of_all_channels(&two).unwrap();
        let std = ((0.25 + 0.12_f64) / 2.0).sqrt() as f32;
        assert!((all.mean()[0] - 0.45).abs() < 1e-6 && (all.std()[0] - std).abs() < 1e-6, "{all:?}");
        assert_eq!((all.mean()[0], all.std()[0]), (all.mean()[1], all.std()[1]));
        let one = set(vec![1, 7, 2, 9], [1, 2, 1]);
        assert_eq!(Normalization::of_all_channels(&one).unwrap(), Normalization::of(&one).unwrap());
    }

    #[test]
    fn a_normalized_set_has_mean_0_and_standard_deviation_1() {
        let bytes: Vec<u8> = (0..40_000_u32).map(|index| (index * index / 77 % 256) as u8).collect();
        let set = set(bytes, [10, 10, 1]);
        let normalization = Normalization::of(&set).unwrap();
        let mut output = vec![0.0; set.samples().len()];
        normalization.apply(set.samples(), &mut output);
        let mean = output.iter().map(|&value| f64::from(value)).sum::<f64>() / 40_000.0;
        let variance = output.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / 40_000.0;
        // Mean and deviation are rounded to f32: relative error 6e-8 each.
        assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-6, "{mean} {variance}");
    }

    #[test]
    fn the_table_holds_what_the_formula_gives() {
        let normalization = Normalization::new(vec![0.1307, 0.5], vec![0.3081, 0.25]).unwrap();
        let bytes: Vec<u8> = (0..=255).flat_map(|byte| [byte, 255 - byte]).collect();
        let mut from_table = vec![0.0; bytes.len()];
        normalization.apply(&bytes, &mut from_table);
        let mut in_place: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect();
        normalization.apply_in_place(&mut in_place);
        assert!(from_table.iter().zip(&in_place).all(|(one, other)| one.to_bits() == other.to_bits()));
        assert_eq!(from_table[2 * 7], (7.0_f32 / 255.0 - 0.1307) / 0.3081);
        assert_eq!(from_table[2 * 7 + 1], (248.0_f32 / 255.0 - 0.5) / 0.25);
    }

    #[test]
    fn one_channel_goes_the_same_way_as_several() {
        let (one, two) = (vec![0.25], vec![0.25, 0.25]);
        let bytes: Vec<u8> = (0..=255).collect();
        let mut outputs = [vec![0.0; 256], vec![0.0; 256]];
        Normalization::new(one.clone(), one).unwrap().apply(&bytes, &mut outputs[0]);
        Normalization::new(two.clone(), two).unwrap().apply(&bytes, &mut outputs[1]);
        assert_eq!(outputs[0], outputs[1]);
        assert_eq!(outputs[0][255], 3.0);
    }

    #[test]
    fn refuses_what_cannot_be_divided_by() {
        let error = Normalization::of(&set(vec![1, 7, 2, 7], [1, 2, 2])).unwrap_err();
        assert!(matches!(error, DataError::ConstantChannel { channel: 1, value: 7, .. }), "{error}");
        for std in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let error = Normalization::new(vec![0.0], vec![std]).unwrap_err();
            assert!(matches!(error, DataError::Setting { name: "std", .. }), "{error}");
        }
        let error = Normalization::new(vec![f32::NAN], vec![1.0]).unwrap_err();
        assert!(matches!(error, DataError::Setting { name: "mean", .. }), "{error}");
    }
}
