//! From a stream of scores to events.

use crate::operand::Quantization;

/// The most classes that a [`Detector`] tells apart.
pub const MAX_CLASSES: usize = 64;

/// When scores are an event.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DetectorConfig {
    /// The part of the smoothed probabilities that the newest has, above 0 and up to 1: 1 does not smooth.
    pub newest: f32,
    /// The smoothed probability from which on a class is heard.
    pub threshold: f32,
    /// Inferences after an event in which there is no other: the refractory time.
    pub refractory: u32,
    /// Classes that are never events, such as silence: a bit for each, the lowest for the first.
    pub background: u64,
}

impl DetectorConfig {
    /// The default for a model with these labels, one a line: those that begin with an underscore, such as `_silence_`, are never events.
    pub fn for_labels(labels: &str) -> Self {
        let (mut background, mut class, mut is_start) = (0, 1, true);
        for byte in labels.bytes() {
            background |= if is_start && byte == b'_' { class } else { 0 };
            is_start = byte == b'\n';
            class = if is_start { class << 1 } else { class };
        }
        Self { background, ..Self::default() }
    }
}

impl Default for DetectorConfig {
    /// Little smoothing, so that one sure inference is enough, and silence for two inferences.
    fn default() -> Self {
        Self { newest: 0.7, threshold: 0.6, refractory: 2, background: 0 }
    }
}

/// A class that was heard.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Detection {
    /// Which one.
    pub class: usize,
    /// Its smoothed probability.
    pub probability: f32,
}

/// Smooths the probabilities of successive inferences and says when a class is heard.
///
/// `smoothed = smoothed + newest * (softmax(scores) - smoothed)`, from zeros. After an event all begin from zeros again.
#[derive(Clone, Debug)]
pub struct Detector {
    config: DetectorConfig,
    smoothed: [f32; MAX_CLASSES],
    waiting: u32,
}

impl Detector {
    /// A detector that has heard nothing yet.
    pub const fn new(config: DetectorConfig) -> Self {
        Self { config, smoothed: [0.0; MAX_CLASSES], waiting: 0 }
    }

    /// Takes the outputs of an inference, logits in int8, and says whether a class is heard with it. Classes beyond [`MAX_CLASSES`] are left out.
    pub fn hear(&mut self, logits: &[i8], quantization: Quantization) -> Option<Detection> {
        let greatest = logits.iter().copied().max()?;
        // Not above 1: the greatest logit is subtracted.
        let weight =
            |logit: i8| libm::expf((i32::from(logit) - i32::from(greatest)) as f32 * quantization.scale);
        let sum = logits.iter().fold(0.0, |sum, &logit| sum + weight(logit));
        let mut best = Detection { class: 0, probability: 0.0 };
        for (class, (smoothed, &logit)) in self.smoothed.iter_mut().zip(logits).enumerate() {
            *smoothed += self.config.newest * (weight(logit) / sum - *smoothed);
            let heard = self.config.background >> class & 1 == 0;
            if heard && *smoothed > best.probability {
                best = Detection { class, probability: *smoothed };
            }
        }
        if self.waiting > 0 {
            self.waiting -= 1;
            return None;
        }
        if best.probability < self.config.threshold {
            return None;
        }
        self.waiting = self.config.refractory;
        self.smoothed = [0.0; MAX_CLASSES];
        Some(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: Quantization = Quantization { scale: 0.1, zero_point: 5 };

    fn detector(config: DetectorConfig) -> Detector {
        Detector::new(config)
    }

    #[test]
    fn one_sure_inference_is_smoothed_away_and_two_are_an_event() {
        let mut detector = detector(DetectorConfig { newest: 0.5, threshold: 0.7, ..Default::default() });
        assert_eq!(detector.hear(&[-100, 100, 0], LOGITS), None);
        let found = detector.hear(&[-100, 100, 0], LOGITS).expect("0.75 is above 0.7");
        assert_eq!(found.class, 1);
        assert!((found.probability - 0.75).abs() < 1e-3, "{found:?}");
    }

    #[test]
    fn after_an_event_there_is_none_for_the_refractory_time() {
        let config = DetectorConfig { newest: 1.0, threshold: 0.7, refractory: 2, background: 0 };
        let mut detector = detector(config);
        let heard = [(); 7].map(|()| detector.hear(&[100, -100], LOGITS).is_some());
        assert_eq!(heard, [true, false, false, true, false, false, true]);
    }

    #[test]
    fn the_background_is_never_heard_and_equal_scores_are_not_sure() {
        let config = DetectorConfig { newest: 1.0, threshold: 0.6, refractory: 0, background: 1 << 2 };
        let mut detector = detector(config);
        assert_eq!(detector.hear(&[-100, -100, 100], LOGITS), None);
        assert_eq!(detector.hear(&[3, 3, -100], LOGITS), None);
        assert_eq!(detector.hear(&[90, 3, -100], LOGITS).map(|found| found.class), Some(0));
        assert_eq!(detector.hear(&[], LOGITS), None);
    }

    #[test]
    fn labels_with_an_underscore_before_them_are_no_events() {
        let background = |labels| DetectorConfig::for_labels(labels).background;
        assert_eq!([background(""), background("a_\nb"), background("_silence_")], [0, 0, 1]);
        assert_eq!(background("a\n_silence_\nb_\n__\n"), 0b1010);
        assert_eq!(background(&"_\n".repeat(70)), u64::MAX);
    }
}
