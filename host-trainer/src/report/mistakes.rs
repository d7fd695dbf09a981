//! The mistakes that a model is surest of, as pictures.

use std::io::Cursor;

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

use smidgen::frontend::{Audio, AudioConfig};

use super::escaped;
use crate::data::Dataset;
use crate::data::audio::{clip_of_bytes, features, frames_of};

/// A sample that was taken for something else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mistake {
    /// Index of the sample in the test set.
    pub sample: usize,
    /// What it is.
    pub label: usize,
    /// What it was taken for.
    pub predicted: usize,
    /// Probability of what it was taken for.
    pub confidence: f64,
}

/// The `count` mistakes whose wrong class is the surest against the right one. `outputs` are the real outputs (logits) of all samples, one after another.
pub fn worst_mistakes(outputs: &[f32], labels: &[u32], count: usize) -> Vec<Mistake> {
    let classes = outputs.len() / labels.len().max(1);
    let mut found: Vec<(f64, Mistake)> = Vec::new();
    for (sample, (logits, &label)) in outputs.chunks_exact(classes.max(1)).zip(labels).enumerate() {
        let better = |best: usize, next: usize| if logits[next] > logits[best] { next } else { best };
        let predicted = (0..classes).reduce(better).unwrap_or(0);
        let label = label as usize;
        if predicted == label || label >= classes {
            continue;
        }
        let greatest = f64::from(logits[predicted]);
        let sum: f64 = logits.iter().map(|&logit| libm::exp(f64::from(logit) - greatest)).sum();
        let margin = greatest - f64::from(logits[label]);
        found.push((margin, Mistake { sample, label, predicted, confidence: 1.0 / sum }));
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.sample.cmp(&b.1.sample)));
    found.into_iter().take(count).map(|(_, mistake)| mistake).collect()
}

/// The mistakes as pictures with their captions.
pub(super) fn pictures(mistakes: &[Mistake], test: &Dataset) -> String {
    if mistakes.is_empty() {
        return "<p>There are none.</p>\n".to_owned();
    }
    let name = |class: usize| escaped(test.class_names().get(class).map_or("", String::as_str));
    let figure = |mistake: &Mistake| {
        let picture = match test.audio() {
            None => picture(test.image(mistake.sample), test.shape()),
            Some(config) => spectrogram(test.image(mistake.sample), *config),
        };
        let picture = picture.unwrap_or_default();
        format!(
            "<figure>{picture}<figcaption>{} taken for <b>{}</b>, {:.0} % sure <br>sample {}</figcaption></figure>\n",
            name(mistake.label),
            name(mistake.predicted),
            mistake.confidence * 100.0,
            mistake.sample
        )
    };
    format!("<div class=\"pictures\">\n{}</div>\n", mistakes.iter().map(figure).collect::<String>())
}

/// A picture inside of the page; nothing for samples that are none.
pub(super) fn picture(image: &[u8], [height, width, channels]: [usize; 3]) -> Option<String> {
    let colour = match channels {
        1 => ExtendedColorType::L8,
        3 => ExtendedColorType::Rgb8,
        _ => return None,
    };
    if image.len() != height * width * channels {
        return None;
    }
    let mut file = Cursor::new(Vec::new());
    PngEncoder::new(&mut file).write_image(image, width as u32, height as u32, colour).ok()?;
    Some(format!(
        "<svg viewBox=\"0 0 {width} {height}\"><image width=\"{width}\" height=\"{height}\" href=\"data:image/png;base64,{}\"/></svg>",
        base64(file.get_ref())
    ))
}

/// The features of a clip as a picture: time to the right, the first channel at the bottom, the greatest value white.
fn spectrogram(clip: &[u8], config: AudioConfig) -> Option<String> {
    let [frames, channels, _] = frames_of(&config);
    let mut values = vec![0.0; frames * channels];
    let samples: Vec<i16> = clip_of_bytes(clip).collect();
    features(&Audio { config, normalization: &[] }, &samples, &mut values);
    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
    let span = values.iter().copied().fold(f32::NEG_INFINITY, f32::max) - low;
    let grey = |value: f32| ((value - low) / span.max(1e-6) * 255.0) as u8;
    let row = |channel: usize| values.iter().skip(channel).step_by(channels);
    let pixels: Vec<u8> = (0..channels).rev().flat_map(row).map(|&value| grey(value)).collect();
    picture(&pixels, [channels, frames, 1])
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            text.push(if digit <= three.len() { char::from(DIGITS[value as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let cases = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (text, expected) in cases {
            assert_eq!(base64(text.as_bytes()), expected);
        }
    }

    #[test]
    fn the_surest_mistakes_come_first() {
        let outputs = [2.0, 1.0, 0.0, 5.0, 0.0, 1.0, 3.0, 0.0];
        let found = worst_mistakes(&outputs, &[0, 0, 0, 1], 5);
        let order: Vec<_> =
            found.iter().map(|mistake| (mistake.sample, mistake.label, mistake.predicted)).collect();
        assert_eq!(order, [(1, 0, 1), (3, 1, 0), (2, 0, 1)]);
        assert!((found[2].confidence - 1.0 / (1.0 + (-1.0_f64).exp())).abs() < 1e-12);
        assert_eq!(worst_mistakes(&outputs, &[0, 0, 0, 1], 1).len(), 1);
    }

    #[test]
    fn pictures_are_what_was_taken_for_something_else() {
        let names = vec!["a<b".to_owned(), "c".to_owned()];
        let test = Dataset::new("t", vec![0, 255, 7, 9, 1, 2, 3, 4], [2, 2, 1], vec![0, 1], names).unwrap();
        let mistake = Mistake { sample: 1, label: 1, predicted: 0, confidence: 0.75 };
        let page = pictures(&[mistake], &test);
        assert!(page.contains("c taken for <b>a&lt;b</b>, 75 % sure"), "{page}");
        let data = page.split("base64,").nth(1).unwrap().split('"').next().unwrap();
        assert!(data.starts_with("iVBORw0KGgo"), "the signature of a PNG file: {data}");
        assert!(pictures(&[], &test).contains("none"));
    }

    #[test]
    fn sound_is_drawn_as_its_spectrum_over_time() {
        let config = AudioConfig::SPEECH_8_KHZ;
        let clip: Vec<i16> =
            (0..config.input_samples()).map(|n| if n % 8 < 4 { 9000 } else { -9000 }).collect();
        let names = vec!["yes".to_owned(), "no".to_owned()];
        let test = Dataset::of_audio("t", &clip, config, vec![0], names).unwrap();
        let page = pictures(&[Mistake { sample: 0, label: 0, predicted: 1, confidence: 0.5 }], &test);
        assert!(page.contains("viewBox=\"0 0 61 24\"") && page.contains("base64,iVBORw0KGgo"), "{page}");
    }
}
