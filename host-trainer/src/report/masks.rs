//! Masks beside those that were found.

use super::mistakes::picture;
use crate::data::Dataset;

/// A sample with the mask that was found for it.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskPicture {
    /// Index of the sample in the test set.
    pub sample: usize,
    /// The classes of its pixels that were found, `[H, W]`.
    pub found: Vec<u8>,
    /// The share of them that is right.
    pub right: f64,
}

/// The `count` samples whose masks are the worst, the worst first. `classes` are those of all pixels of all samples.
pub fn worst_masks(classes: &[usize], data: &Dataset, count: usize) -> Vec<MaskPicture> {
    let [height, width, _] = data.shape();
    let samples = classes.chunks_exact((height * width).max(1)).enumerate();
    let mut all: Vec<MaskPicture> = samples
        .filter_map(|(sample, classes)| {
            let found: Vec<u8> = classes.iter().map(|&class| class as u8).collect();
            let same = data.mask(sample)?.iter().zip(&found).filter(|(a, b)| a == b).count();
            Some(MaskPicture { sample, right: same as f64 / found.len() as f64, found })
        })
        .collect();
    all.sort_by(|a, b| a.right.total_cmp(&b.right));
    all.truncate(count);
    all
}

/// Each sample, its mask, and the one that was found, with their captions.
pub(super) fn pictures(pictures: &[MaskPicture], test: &Dataset) -> String {
    let [height, width, _] = test.shape();
    let brightest = test.class_names().len().max(2) - 1;
    let grey = |classes: &[u8]| -> Vec<u8> {
        classes.iter().map(|&class| (usize::from(class) * 255 / brightest) as u8).collect()
    };
    let figures = |shown: &MaskPicture| {
        let truth = grey(test.mask(shown.sample).unwrap_or_default());
        let figure = |picture: Option<String>, caption: &str| {
            format!("<figure>{}<figcaption>{caption}</figcaption></figure>\n", picture.unwrap_or_default())
        };
        let caption = format!("found, {:.1} % right", shown.right * 100.0);
        [
            figure(picture(test.image(shown.sample), test.shape()), &format!("sample {}", shown.sample)),
            figure(picture(&truth, [height, width, 1]), "its mask"),
            figure(picture(&grey(&shown.found), [height, width, 1]), &caption),
        ]
        .concat()
    };
    format!("<div class=\"pictures\">\n{}</div>\n", pictures.iter().map(figures).collect::<String>())
}
