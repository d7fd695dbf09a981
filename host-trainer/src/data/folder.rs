//! Images in folders: `DIR/train/CLASS/*.jpg` and `DIR/test/CLASS/*.jpg`, PNG or JPEG. The folders' names are the classes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use image::{DynamicImage, ImageReader};

use super::{DataError, Dataset, Split};

/// How image files become samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImageOptions {
    /// Height and width to which every image is scaled; without them all images have to be of one size.
    pub size: Option<[usize; 2]>,
    /// Height and width of what is cut out of every image: the centre, and for training a random place.
    pub crop: Option<[usize; 2]>,
    /// One channel instead of three.
    pub greyscale: bool,
    /// Whether a class may be in one of the two sets only.
    pub classes_differ: bool,
}

/// Loads training and test images from a directory. Hidden files are left out.
///
/// # Errors
/// A directory or an image is missing, an image is damaged or of another size, a class has no images or is in one of the two sets only: the
/// error names it.
pub fn load_image_dir(directory: &Path, options: ImageOptions) -> Result<Split, DataError> {
    let (train, test) = (load_set(directory, "train", options)?, load_set(directory, "test", options)?);
    let (train, test) = match options.classes_differ {
        false => (train, test),
        true => {
            let all: BTreeSet<String> =
                [&train, &test].iter().flat_map(|set| set.class_names()).cloned().collect();
            let all: Vec<String> = all.into_iter().collect();
            (train.among(&all)?, test.among(&all)?)
        }
    };
    for (set, other) in [(&train, &test), (&test, &train)] {
        let classes = other.class_names();
        if let Some(class) = set.class_names().iter().find(|class| !classes.contains(class)) {
            return Err(DataError::MissingClass {
                class: class.clone(),
                there: set.name().into(),
                missing: other.name().into(),
            });
        }
    }
    let Some(crop) = options.crop else { return Split::new(train, test) };
    let split = Split::new(train.centre(crop)?, test.centre(crop)?)?;
    Ok(Split { uncropped: Some(train), ..split })
}

/// Loads the test images only, their centres if the options say so.
///
/// # Errors
/// As [`load_image_dir`].
pub fn load_test_images(directory: &Path, options: ImageOptions) -> Result<Dataset, DataError> {
    let test = load_set(directory, "test", options)?;
    options.crop.map_or(Ok(test.clone()), |crop| test.centre(crop))
}

fn load_set(directory: &Path, part: &str, options: ImageOptions) -> Result<Dataset, DataError> {
    let root = directory.join(part);
    if !root.is_dir() {
        return Err(DataError::MissingDirectory { directory: root });
    }
    let classes: Vec<PathBuf> = entries(&root)?.into_iter().filter(|path| path.is_dir()).collect();
    let (mut samples, mut labels, mut shape, mut names) = (Vec::new(), Vec::new(), None, Vec::new());
    for (label, class) in classes.iter().enumerate() {
        let files = entries(class)?;
        if files.is_empty() {
            return Err(DataError::EmptyClass { directory: class.clone() });
        }
        for file in files {
            let image = read_image(&file, options)?;
            let (height, width) = (image.height() as usize, image.width() as usize);
            let (expected, like) = shape.get_or_insert_with(|| ([height, width], file.clone()));
            if [height, width] != *expected {
                let (found, expected, like) = ([height, width], *expected, like.clone());
                return Err(DataError::ImageSize { file, found, expected, like });
            }
            samples.extend(if options.greyscale {
                image.into_luma8().into_raw()
            } else {
                image.into_rgb8().into_raw()
            });
            labels.push(label as u32);
        }
        names.push(class.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    let name = format!("{} ({part})", directory.display());
    let Some(([height, width], _)) = shape else {
        return Err(DataError::EmptyDataset { dataset: root.display().to_string(), what: "classes" });
    };
    let channels = if options.greyscale { 1 } else { 3 };
    Dataset::new(name, samples, [height, width, channels], labels, names)
}

/// What is in a directory, sorted, without hidden files.
pub(super) fn entries(directory: &Path) -> Result<Vec<PathBuf>, DataError> {
    let unreadable = |cause| DataError::Unreadable { file: directory.display().to_string(), cause };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

pub(super) fn read_image(file: &Path, options: ImageOptions) -> Result<DynamicImage, DataError> {
    let image = open_image(file)?;
    Ok(match options.size {
        Some([height, width]) if [image.height(), image.width()] != [height as u32, width as u32] => {
            image.resize_exact(width as u32, height as u32, FilterType::Triangle)
        }
        _ => image,
    })
}

pub(super) fn open_image(file: &Path) -> Result<DynamicImage, DataError> {
    let name = || file.display().to_string();
    let unreadable = |cause| DataError::Unreadable { file: name(), cause };
    if fs::metadata(file).map_err(unreadable)?.len() == 0 {
        return Err(DataError::EmptyFile { file: name(), expected: "PNG or JPEG" });
    }
    let reader = ImageReader::open(file).map_err(unreadable)?.with_guessed_format().map_err(unreadable)?;
    reader.decode().map_err(|cause| DataError::NotAnImage { file: name(), message: cause.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, RgbImage};

    /// Two classes, three training images each and one test image, 4x6 pixels, as PNG; `(class, index)` decides the colour.
    fn folder() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (part, count) in [("train", 3), ("test", 1)] {
            for (class, name) in ["cat", "dog"].into_iter().enumerate() {
                let path = directory.path().join(part).join(name);
                fs::create_dir_all(&path).unwrap();
                for index in 0..count {
                    let colour = image::Rgb([class as u8 * 100, index as u8 * 50, 200]);
                    RgbImage::from_pixel(6, 4, colour).save(path.join(format!("{index}.png"))).unwrap();
                }
                fs::write(path.join(".hidden"), "no image").unwrap();
            }
        }
        directory
    }

    fn load(directory: &tempfile::TempDir) -> Result<Split, DataError> {
        load_image_dir(directory.path(), ImageOptions::default())
    }

    fn fails(directory: &tempfile::TempDir, parts: &[&str]) {
        let error = load(directory).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{parts:?} in {error}");
    }

    #[test]
    fn folders_are_classes() {
        let split = load(&folder()).unwrap();
        assert_eq!((split.train.shape(), split.train.labels()), ([4, 6, 3], &[0, 0, 0, 1, 1, 1][..]));
        assert_eq!(split.train.class_names(), ["cat", "dog"]);
        assert_eq!(split.train.image(4)[..6], [100, 50, 200, 100, 50, 200]);
        assert_eq!(split.test.labels(), [0, 1]);
    }

    #[test]
    fn images_are_scaled_cropped_and_made_grey() {
        let options =
            ImageOptions { size: Some([8, 8]), crop: Some([4, 2]), greyscale: true, classes_differ: false };
        let directory = folder();
        let split = load_image_dir(directory.path(), options).unwrap();
        assert_eq!((split.train.shape(), split.test.shape()), ([4, 2, 1], [4, 2, 1]));
        assert_eq!(split.uncropped.unwrap().shape(), [8, 8, 1]);
        assert_eq!(load_test_images(directory.path(), options).unwrap(), split.test);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let directory = folder();
        GrayImage::new(3, 3).save(directory.path().join("train/dog/9.png")).unwrap();
        fails(&directory, &["train/dog/9.png", "3x3", "4x6", "image_size"]);
        let directory = folder();
        fs::write(directory.path().join("test/cat/1.jpg"), [0xff, 0xd8, 0xff, 0xe0, 1, 2]).unwrap();
        fails(&directory, &["test/cat/1.jpg", "not a PNG or JPEG"]);
        let directory = folder();
        fs::write(directory.path().join("test/cat/1.jpg"), "").unwrap();
        fails(&directory, &["test/cat/1.jpg", "empty"]);
        let directory = folder();
        fs::create_dir(directory.path().join("train/bird")).unwrap();
        fails(&directory, &["train/bird", "no images"]);
        let directory = folder();
        fs::remove_dir_all(directory.path().join("test/dog")).unwrap();
        fails(&directory, &["dog", "test"]);
        let directory = folder();
        fs::remove_dir_all(directory.path().join("test")).unwrap();
        fails(&directory, &["test: there is no such directory"]);
    }
}
