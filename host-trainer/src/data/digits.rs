use super::idx::{Pair, load_pair};
use super::{DataError, Split};

macro_rules! bundled {
    ($name:literal) => {
        (concat!("bundled ", $name), include_bytes!(concat!("../../data/digits/", $name)).as_slice())
    };
}

const TRAIN_IMAGES: (&str, &[u8]) = bundled!("train-images-idx3-ubyte.gz");
const TRAIN_LABELS: (&str, &[u8]) = bundled!("train-labels-idx1-ubyte.gz");
const TEST_IMAGES: (&str, &[u8]) = bundled!("t10k-images-idx3-ubyte.gz");
const TEST_LABELS: (&str, &[u8]) = bundled!("t10k-labels-idx1-ubyte.gz");

/// The handwritten digits that are built into the program: 12,000 training and 2,000 test images of MNIST, `[28, 28, 1]`, each class as
/// often as every other. `data/digits/README.md` tells their source, licence and choice.
///
/// # Errors
/// None, as long as the built-in files are whole; they are read with the same checks as any other file.
pub fn digits() -> Result<Split, DataError> {
    Split::new(
        load_pair("digits train", &Pair { images: TRAIN_IMAGES, labels: TRAIN_LABELS })?,
        load_pair("digits test", &Pair { images: TEST_IMAGES, labels: TEST_LABELS })?,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::load_mnist_dir;
    use crate::data::tests::shared_mnist;

    #[test]
    fn are_balanced() {
        let split = digits().unwrap();
        assert_eq!(split.train.shape(), [28, 28, 1]);
        for (set, per_class) in [(&split.train, 1200), (&split.test, 200)] {
            let mut counts = [0; 10];
            set.labels().iter().for_each(|&label| counts[label as usize] += 1);
            assert_eq!(counts, [per_class; 10], "{}", set.name());
        }
    }

    #[test]
    fn have_no_image_twice_and_none_in_both_sets() {
        let split = digits().unwrap();
        let sets = [&split.train, &split.test];
        let images: std::collections::HashSet<&[u8]> =
            sets.iter().flat_map(|set| (0..set.len()).map(|index| set.image(index))).collect();
        assert_eq!(images.len(), 14_000);
    }

    #[test]
    fn take_less_than_3_megabytes() {
        let bytes: usize =
            [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS].iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes < 3_000_000, "{bytes} bytes");
    }

    /// Contents are compared, not compressed bytes: those also depend on the deflate library that Python was built with.
    #[test]
    fn are_what_the_script_makes_of_mnist() {
        let Some(mnist) = shared_mnist("are_what_the_script_makes_of_mnist") else { return };
        let out = tempfile::tempdir().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/make_digits.py");
        let status = std::process::Command::new("python3").arg(script).arg(&mnist).arg(out.path()).status();
        assert!(status.expect("python3 is installed").success());
        let (made, bundled) = (load_mnist_dir(out.path()).unwrap(), digits().unwrap());
        for (made, bundled) in [(&made.train, &bundled.train), (&made.test, &bundled.test)] {
            assert!(made.labels() == bundled.labels(), "{} labels differ", bundled.name());
            assert!(made.samples() == bundled.samples(), "{} images differ", bundled.name());
        }
    }
}
