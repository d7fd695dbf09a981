//! Images with masks: `DIR/train/images/NAME.jpg` and `DIR/train/masks/NAME.png`, the same in `DIR/test`. A mask has a class for each pixel.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use image::GrayImage;
use image::imageops::FilterType;

use super::folder::{entries, open_image, read_image};
use super::{DataError, Dataset, ImageOptions, Split};

/// A set's images and masks, before the values of the masks are classes.
struct Found {
    name: String,
    shape: [usize; 3],
    samples: Vec<u8>,
    masks: Vec<u8>,
    count: usize,
}

/// Loads training and test images with a mask for each. The grey values that the masks have are the classes, in their order; 0, usually, is what is around things.
///
/// # Errors
/// A directory, an image or its mask is missing, damaged or of another size; the training masks have only one value, or the test masks one that those have not: the error names it.
pub fn load_mask_dir(directory: &Path, options: ImageOptions) -> Result<Split, DataError> {
    let (train, test) = (load(directory, "train", options)?, load(directory, "test", options)?);
    let values = values_of(&train);
    Split::new(train.classified(&values)?, test.classified(&values)?)
}

/// Loads the test images and masks only, whose classes have these names: the grey values.
///
/// # Errors
/// As [`load_mask_dir`].
pub fn load_test_masks(
    directory: &Path,
    options: ImageOptions,
    names: &[String],
) -> Result<Dataset, DataError> {
    let values: Vec<u8> = names.iter().filter_map(|name| name.parse().ok()).collect();
    load(directory, "test", options)?.classified(&values)
}

fn values_of(found: &Found) -> Vec<u8> {
    let values: BTreeSet<u8> = found.masks.iter().copied().collect();
    values.into_iter().collect()
}

fn load(directory: &Path, part: &str, options: ImageOptions) -> Result<Found, DataError> {
    let of = |kind: &str| directory.join(part).join(kind);
    for kind in ["images", "masks"] {
        if !of(kind).is_dir() {
            return Err(DataError::MissingDirectory { directory: of(kind) });
        }
    }
    let (files, masks) = (entries(&of("images"))?, entries(&of("masks"))?);
    let (mut samples, mut classes, mut shape) = (Vec::new(), Vec::new(), None::<([usize; 2], PathBuf)>);
    for file in &files {
        let Some(mask) = masks.iter().find(|mask| mask.file_stem() == file.file_stem()) else {
            let name = format!("{}.png", file.file_stem().unwrap_or_default().to_string_lossy());
            return Err(DataError::MissingFile { directory: of("masks"), names: vec![name] });
        };
        let (image, mask_image) = (read_image(file, options)?, read_mask(mask, options)?);
        let size = |height: u32, width: u32| [height as usize, width as usize];
        let (found, like) = shape.get_or_insert_with(|| (size(image.height(), image.width()), file.clone()));
        for (of, other) in [
            (file, size(image.height(), image.width())),
            (mask, size(mask_image.height(), mask_image.width())),
        ] {
            if other != *found {
                let (file, expected, like) = (of.clone(), *found, like.clone());
                return Err(DataError::ImageSize { file, found: other, expected, like });
            }
        }
        samples.extend(if options.greyscale {
            image.into_luma8().into_raw()
        } else {
            image.into_rgb8().into_raw()
        });
        classes.extend(mask_image.into_raw());
    }
    let Some(([height, width], _)) = shape else {
        return Err(DataError::EmptyClass { directory: of("images") });
    };
    let channels = if options.greyscale { 1 } else { 3 };
    let name = format!("{} ({part})", directory.display());
    Ok(Found { name, shape: [height, width, channels], samples, masks: classes, count: files.len() })
}

/// A mask in the size of the images. Its values stay what they are.
fn read_mask(file: &Path, options: ImageOptions) -> Result<GrayImage, DataError> {
    // Of a palette, the brightness of what is shown.
    let mask = open_image(file)?.into_luma8();
    Ok(match options.size {
        Some([height, width]) if [mask.height(), mask.width()] != [height as u32, width as u32] => {
            image::imageops::resize(&mask, width as u32, height as u32, FilterType::Nearest)
        }
        _ => mask,
    })
}

impl Found {
    /// The data set, with the places of these values as classes.
    fn classified(mut self, values: &[u8]) -> Result<Dataset, DataError> {
        let names: Vec<String> = values.iter().map(u8::to_string).collect();
        if values.len() < 2 {
            return Err(DataError::OneClass { dataset: self.name, value: names.concat() });
        }
        for value in &mut self.masks {
            let place = values
                .binary_search(value)
                .map_err(|_| DataError::NoSuchClass { class: value.to_string(), known: names.clone() })?;
            *value = place as u8;
        }
        let set = Dataset::new(self.name, self.samples, self.shape, vec![0; self.count], names)?;
        Ok(set.with_masks(self.masks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Luma;
    use std::fs;

    fn folder(mask_values: [u8; 2]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for part in ["train", "test"] {
            let of = |kind: &str| directory.path().join(part).join(kind);
            for kind in ["images", "masks"] {
                fs::create_dir_all(of(kind)).unwrap();
            }
            for index in 0..2_u32 {
                let image = GrayImage::from_fn(6, 4, |x, y| Luma([(40 * y + x + index) as u8]));
                image.save(of("images").join(format!("{index}.png"))).unwrap();
                let mask = GrayImage::from_fn(6, 4, |x, _| Luma([mask_values[usize::from(x > 2 + index)]]));
                mask.save(of("masks").join(format!("{index}.png"))).unwrap();
            }
        }
        directory
    }

    const GREY: ImageOptions =
        ImageOptions { size: None, crop: None, greyscale: true, classes_differ: false };

    #[test]
    fn grey_values_are_classes() {
        let directory = folder([0, 255]);
        let split = load_mask_dir(directory.path(), GREY).unwrap();
        assert_eq!((split.train.shape(), split.train.len()), ([4, 6, 1], 2));
        assert_eq!(split.train.class_names(), ["0", "255"]);
        assert_eq!(split.train.mask(1).unwrap()[..6], [0, 0, 0, 0, 1, 1]);
        let names = ["0".to_owned(), "255".to_owned()];
        assert_eq!(load_test_masks(directory.path(), GREY, &names).unwrap(), split.test);
        let part = split.train.select("second", &[1]).unwrap();
        assert_eq!(part.mask(0), split.train.mask(1));
        let small = ImageOptions { size: Some([2, 3]), ..GREY };
        let split = load_mask_dir(directory.path(), small).unwrap();
        assert_eq!((split.train.shape(), split.train.mask(0).unwrap().len()), ([2, 3, 1], 6));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let fails = |directory: &tempfile::TempDir, parts: &[&str]| {
            let error = load_mask_dir(directory.path(), GREY).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{parts:?} in {error}");
        };
        fails(&folder([7, 7]), &["only one value, 7"]);
        let directory = folder([0, 1]);
        fs::remove_file(directory.path().join("train/masks/1.png")).unwrap();
        fails(&directory, &["train/masks", "1.png"]);
        GrayImage::new(3, 3).save(directory.path().join("train/masks/1.png")).unwrap();
        fails(&directory, &["train/masks/1.png", "3x3", "4x6"]);
        let directory = folder([0, 1]);
        GrayImage::from_pixel(6, 4, Luma([9])).save(directory.path().join("test/masks/1.png")).unwrap();
        fails(&directory, &["no class 9, only 0, 1"]);
        fs::remove_dir_all(directory.path().join("test/masks")).unwrap();
        fails(&directory, &["test/masks"]);
    }
}
