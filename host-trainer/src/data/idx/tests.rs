use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::data::tests::shared_mnist;

fn file(magic: u32, dimensions: &[u32], data: &[u8]) -> Vec<u8> {
    let numbers = [magic].into_iter().chain(dimensions.iter().copied());
    numbers.flat_map(u32::to_be_bytes).chain(data.iter().copied()).collect()
}

/// Two images of 2 × 3 pixels.
fn images() -> Vec<u8> {
    file(IMAGES.magic, &[2, 2, 3], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
}

fn labels() -> Vec<u8> {
    file(LABELS.magic, &[2], &[7, 9])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn error(bytes: &[u8]) -> DataError {
    parse_images("x", bytes).unwrap_err()
}

/// A directory with the four files, of which a test then spoils one.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        ("train-images-idx3-ubyte", images()),
        ("train-labels.idx1-ubyte.gz", gzip(&labels())),
        ("t10k-images.idx3-ubyte", images()),
        ("t10k-labels-idx1-ubyte.gz", gzip(&labels())),
    ] {
        std::fs::write(directory.path().join(name), bytes).unwrap();
    }
    directory
}

#[test]
fn reads_plain_and_gzipped_files() {
    let pixels = (0..12).collect();
    let expected = Images { count: 2, height: 2, width: 3, pixels };
    assert_eq!(parse_images("x", &images()).unwrap(), expected);
    assert_eq!(parse_images("x", &gzip(&images())).unwrap(), expected);
    assert_eq!(parse_labels("x", &labels()).unwrap(), [7, 9]);
    assert_eq!(parse_labels("x", &gzip(&labels())).unwrap(), [7, 9]);
}

#[test]
fn reads_gzip_of_several_members() {
    let (head, tail) = (&images()[..9], &images()[9..]);
    let members = [gzip(head), gzip(tail)].concat();
    assert_eq!(parse_images("x", &members).unwrap(), parse_images("x", &images()).unwrap());
}

#[test]
fn finds_each_file_under_each_of_its_names() {
    let split = load_mnist_dir(directory().path()).unwrap();
    assert_eq!((split.train.len(), split.test.len(), split.train.shape()), (2, 2, [2, 3, 1]));
    assert_eq!(split.test.labels(), [7, 9]);
    assert_eq!(split.train.class_names()[9], "9");
}

#[test]
fn says_which_names_it_looked_for() {
    let directory = directory();
    std::fs::remove_file(directory.path().join("t10k-images.idx3-ubyte")).unwrap();
    let error = load_mnist_dir(directory.path()).unwrap_err();
    assert!(matches!(error, DataError::MissingFile { .. }), "{error}");
    let message = error.to_string();
    for name in [
        "t10k-images-idx3-ubyte,",
        "t10k-images-idx3-ubyte.gz,",
        "t10k-images.idx3-ubyte,",
        "t10k-images.idx3-ubyte.gz;",
    ] {
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn refuses_a_missing_directory_and_a_file_in_its_place() {
    let directory = directory();
    for path in [directory.path().join("nowhere"), directory.path().join("train-images-idx3-ubyte")] {
        let error = load_mnist_dir(&path).unwrap_err();
        assert!(matches!(error, DataError::MissingDirectory { .. }), "{error}");
    }
}

#[test]
fn refuses_a_file_that_cannot_be_read() {
    let directory = directory();
    let error = read_images(directory.path()).unwrap_err();
    assert!(matches!(error, DataError::Unreadable { .. }), "{error}");
    let error = read_labels(&directory.path().join("nothing")).unwrap_err();
    assert!(matches!(error, DataError::Unreadable { .. }), "{error}");
}

#[test]
fn refuses_an_empty_file() {
    assert!(matches!(error(&[]), DataError::EmptyFile { .. }));
    assert!(matches!(error(&gzip(&[])), DataError::EmptyFile { .. }));
}

#[test]
fn says_what_a_mislabelled_file_looks_like() {
    let looks_like = |bytes: &[u8]| match error(bytes) {
        DataError::WrongMagic { looks_like, .. } => looks_like,
        other => panic!("{other}"),
    };
    assert_eq!(looks_like(&labels()), "a file of IDX labels");
    assert_eq!(looks_like(&gzip(&gzip(&images()))), "a file that was gzipped twice");
    assert_eq!(looks_like(b"<!DOCTYPE html>"), "a web page");
    assert_eq!(looks_like(&[0; 100]), "a block of zeros");
    assert_eq!(
        looks_like(&file(0x0000_0D03, &[1, 1, 1], &[0; 4])),
        "an IDX file of another rank or element type"
    );
    assert_eq!(looks_like(&[3, 8, 0, 0, 1, 0, 0, 0]), "an IDX file with its bytes in the wrong order");
    assert_eq!(looks_like(b"hello, world"), "no IDX file at all");
    match parse_labels("x", &images()).unwrap_err() {
        DataError::WrongMagic { looks_like, found: 0x803, expected: 0x801, .. } => {
            assert_eq!(looks_like, "a file of IDX images");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn refuses_every_truncation() {
    let whole = images();
    for length in 1..whole.len() {
        match error(&whole[..length]) {
            DataError::Truncated { expected, found, .. } => {
                assert_eq!((expected, found), (if length < 16 { 16 } else { 28 }, length as u64));
            }
            other => panic!("{length}: {other}"),
        }
        // The stream is whole, but it holds too little.
        assert!(matches!(error(&gzip(&whole[..length])), DataError::Truncated { .. }));
    }
}

#[test]
fn refuses_trailing_bytes() {
    let longer = [images(), vec![0]].concat();
    assert!(matches!(error(&longer), DataError::TrailingBytes { expected: 28, .. }));
    assert!(matches!(error(&gzip(&longer)), DataError::TrailingBytes { expected: 28, .. }));
}

#[test]
fn refuses_a_zero_dimension() {
    for (index, expected) in ["number of images", "height", "width"].into_iter().enumerate() {
        let mut dimensions = [2, 2, 3];
        dimensions[index] = 0;
        match error(&file(IMAGES.magic, &dimensions, &[])) {
            DataError::ZeroDimension { dimension, offset, .. } => {
                assert_eq!((dimension, offset), (expected, 4 + 4 * index as u64));
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn refuses_what_is_too_large_before_it_allocates() {
    match error(&file(IMAGES.magic, &[u32::MAX; 3], &[])) {
        DataError::TooLarge { found, .. } => assert_eq!(found, u128::from(u32::MAX).pow(3)),
        other => panic!("{other}"),
    }
    assert!(matches!(error(&file(IMAGES.magic, &[1 << 20, 1 << 10, 2], &[])), DataError::TooLarge { .. }));
    // Just within the limit, the missing bytes are what is wrong.
    assert!(matches!(error(&file(IMAGES.magic, &[1 << 20, 1 << 10, 1], &[])), DataError::Truncated { .. }));
}

#[test]
fn refuses_every_truncation_of_gzip() {
    let whole = gzip(&images());
    for length in 2..whole.len() {
        let error = error(&whole[..length]);
        assert!(matches!(error, DataError::GzipTruncated { .. }), "{length}: {error}");
    }
}

#[test]
fn refuses_corrupt_gzip() {
    let whole = gzip(&images());
    let mut wrong_checksum = whole.clone();
    wrong_checksum[whole.len() - 8] ^= 1;
    match error(&wrong_checksum) {
        DataError::GzipCorrupt { decoded, .. } => assert_eq!(decoded, 28),
        other => panic!("{other}"),
    }
    let mut reserved_block_type = whole.clone();
    reserved_block_type[10] = 0x07;
    assert!(matches!(error(&reserved_block_type), DataError::GzipCorrupt { .. }));
    let garbage_behind = [whole, b"garbage behind the end".to_vec()].concat();
    assert!(matches!(error(&garbage_behind), DataError::GzipCorrupt { .. }));
}

/// Whatever one byte becomes, there is a result, and what is accepted has the length that it says.
#[test]
fn survives_every_change_of_a_byte() {
    for whole in [images(), gzip(&images())] {
        for place in 0..whole.len() {
            for value in 0..=255 {
                let mut changed = whole.clone();
                changed[place] = value;
                if let Ok(images) = parse_images("x", &changed) {
                    assert_eq!(images.pixels.len() as u32, images.count * images.height * images.width);
                }
            }
        }
    }
}

#[test]
fn refuses_counts_that_differ_and_names_both_files() {
    let directory = directory();
    let three = file(LABELS.magic, &[3], &[1, 2, 3]);
    std::fs::write(directory.path().join("train-labels.idx1-ubyte.gz"), gzip(&three)).unwrap();
    let error = load_mnist_dir(directory.path()).unwrap_err();
    assert!(matches!(error, DataError::CountMismatch { images: 2, labels: 3, .. }), "{error}");
    let message = error.to_string();
    assert!(
        message.contains("train-images-idx3-ubyte") && message.contains("train-labels.idx1-ubyte.gz"),
        "{message}"
    );
}

#[test]
fn refuses_a_label_that_is_no_digit() {
    let directory = directory();
    std::fs::write(directory.path().join("t10k-labels-idx1-ubyte.gz"), file(LABELS.magic, &[2], &[9, 10]))
        .unwrap();
    let error = load_mnist_dir(directory.path()).unwrap_err();
    assert!(matches!(error, DataError::LabelOutOfRange { record: 1, label: 10, classes: 10, .. }), "{error}");
    assert!(error.to_string().contains("t10k-labels-idx1-ubyte.gz"), "{error}");
}

#[test]
fn reads_the_official_files() {
    let Some(mnist) = shared_mnist("reads_the_official_files") else { return };
    let split = load_mnist_dir(&mnist).unwrap();
    assert_eq!((split.train.len(), split.test.len(), split.test.shape()), (60_000, 10_000, [28, 28, 1]));
    assert_eq!(split.train.labels()[..10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
    assert_eq!(split.test.labels()[..10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
    // The mean and the standard deviation that everybody uses.
    let normalization = crate::data::Normalization::of(&split.train).unwrap();
    assert!(
        (normalization.mean()[0] - 0.1307).abs() < 1e-4 && (normalization.std()[0] - 0.3081).abs() < 1e-4
    );
}
