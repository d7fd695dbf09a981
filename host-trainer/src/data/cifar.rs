//! CIFAR-10 and CIFAR-100 in their binary version: <https://www.cs.toronto.edu/~kriz/cifar.html>.
//!
//! A record is its labels, a byte each, and 3,072 bytes: the red, the green and the blue plane of 32 by 32 pixels, row by row. CIFAR-10 has one label, CIFAR-100 a
//! coarse and a fine one, of which the fine one is taken.

use std::fs;
use std::path::{Path, PathBuf};

use super::{DataError, Dataset, Split};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;

/// One of the two sets.
struct Kind {
    name: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    classes: usize,
    /// The file with the classes' names, a line each.
    names: &'static str,
    label_bytes: usize,
}

const KINDS: [Kind; 2] = [
    Kind {
        name: "CIFAR-10",
        train: &[
            "data_batch_1.bin",
            "data_batch_2.bin",
            "data_batch_3.bin",
            "data_batch_4.bin",
            "data_batch_5.bin",
        ],
        test: "test_batch.bin",
        classes: 10,
        names: "batches.meta.txt",
        label_bytes: 1,
    },
    Kind {
        name: "CIFAR-100",
        train: &["train.bin"],
        test: "test.bin",
        classes: 100,
        names: "fine_label_names.txt",
        label_bytes: 2,
    },
];

/// Whether a directory holds one of the two sets.
pub fn is_cifar_dir(directory: &Path) -> bool {
    kind_of(directory).is_some()
}

fn kind_of(directory: &Path) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| directory.join(kind.test).is_file())
}

/// Loads CIFAR-10 or CIFAR-100, whichever the directory holds. Without the file of the classes' names they are numbers.
///
/// # Errors
/// A file is missing, cannot be read, is empty or not a whole number of records, or a label is not one: the error names file and record.
pub fn load_cifar_dir(directory: &Path) -> Result<Split, DataError> {
    if !directory.is_dir() {
        return Err(DataError::MissingDirectory { directory: directory.into() });
    }
    let Some(kind) = kind_of(directory) else {
        let names = KINDS.iter().map(|kind| kind.test.to_owned()).collect();
        return Err(DataError::MissingFile { directory: directory.into(), names });
    };
    let classes = class_names(directory, kind)?;
    let files = |names: &[&str]| names.iter().map(|name| directory.join(name)).collect::<Vec<_>>();
    Split::new(
        load(&format!("{} train", kind.name), &files(kind.train), kind, &classes)?,
        load(&format!("{} test", kind.name), &files(&[kind.test]), kind, &classes)?,
    )
}

fn class_names(directory: &Path, kind: &Kind) -> Result<Vec<String>, DataError> {
    let path = directory.join(kind.names);
    if !path.is_file() {
        return Ok((0..kind.classes).map(|class| class.to_string()).collect());
    }
    let file = path.display().to_string();
    let text =
        fs::read_to_string(&path).map_err(|cause| DataError::Unreadable { file: file.clone(), cause })?;
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if names.len() == kind.classes {
        return Ok(names);
    }
    Err(DataError::ClassNames { file, found: names.len(), expected: kind.classes })
}

fn load(name: &str, files: &[PathBuf], kind: &Kind, classes: &[String]) -> Result<Dataset, DataError> {
    let record = kind.label_bytes + 3 * PLANE;
    let (mut samples, mut labels) = (Vec::new(), Vec::new());
    for path in files {
        let file = path.display().to_string();
        let bytes = fs::read(path).map_err(|cause| DataError::Unreadable { file: file.clone(), cause })?;
        if bytes.is_empty() {
            return Err(DataError::EmptyFile { file, expected: "CIFAR records" });
        }
        if !bytes.len().is_multiple_of(record) {
            let whole = (bytes.len() / record + 1) * record;
            let what = format!("{} records of {record}", bytes.len() / record + 1);
            return Err(DataError::Truncated {
                file,
                what,
                expected: whole as u64,
                found: bytes.len() as u64,
            });
        }
        for (index, record) in bytes.chunks_exact(record).enumerate() {
            let (label, planes) = record.split_at(kind.label_bytes);
            // The fine one is the last.
            let label = u32::from(label[kind.label_bytes - 1]);
            if label as usize >= kind.classes {
                return Err(DataError::LabelOutOfRange {
                    labels_from: file,
                    record: index as u64,
                    label,
                    classes: kind.classes,
                });
            }
            labels.push(label);
            samples.extend((0..PLANE).flat_map(|at| [0, 1, 2].map(|plane| planes[plane * PLANE + at])));
        }
    }
    Dataset::new(name, samples, [SIDE, SIDE, 3], labels, classes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(labels: &[u8], seed: u8) -> Vec<u8> {
        let planes = (0..3_u8).flat_map(|plane| (0..PLANE).map(move |at| plane * 80 + (at % 7) as u8 + seed));
        labels.iter().copied().chain(planes).collect()
    }

    fn cifar_10() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for batch in 1..=5_u8 {
            let records = [record(&[batch], batch), record(&[batch + 4], 0)].concat();
            fs::write(directory.path().join(format!("data_batch_{batch}.bin")), records).unwrap();
        }
        fs::write(directory.path().join("test_batch.bin"), record(&[3], 0)).unwrap();
        directory
    }

    #[test]
    fn pixels_are_put_together_from_their_planes() {
        let directory = cifar_10();
        let split = load_cifar_dir(directory.path()).unwrap();
        assert_eq!((split.train.len(), split.train.shape()), (10, [32, 32, 3]));
        assert_eq!(split.train.labels()[..4], [1, 5, 2, 6]);
        assert_eq!(split.train.image(0)[..6], [1, 81, 161, 2, 82, 162]);
        assert_eq!((split.test.labels(), split.test.class_names()[3].as_str()), (&[3][..], "3"));
        fs::write(directory.path().join("batches.meta.txt"), "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n").unwrap();
        assert_eq!(load_cifar_dir(directory.path()).unwrap().test.class_names()[3], "d");
    }

    #[test]
    fn of_cifar_100_the_fine_label_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("train.bin"), record(&[1, 99], 0)).unwrap();
        fs::write(directory.path().join("test.bin"), record(&[1, 42], 0)).unwrap();
        let split = load_cifar_dir(directory.path()).unwrap();
        assert_eq!((split.train.labels(), split.test.labels()), (&[99][..], &[42][..]));
        assert_eq!(split.train.class_names().len(), 100);
    }

    #[test]
    fn errors_name_file_and_record() {
        let error = |directory: &tempfile::TempDir| load_cifar_dir(directory.path()).unwrap_err().to_string();
        let directory = cifar_10();
        let batch = directory.path().join("data_batch_2.bin");
        fs::write(&batch, [record(&[1], 0), record(&[10], 0)].concat()).unwrap();
        let message = error(&directory);
        assert!(message.contains("data_batch_2.bin") && message.contains("record 1 is 10"), "{message}");
        fs::write(&batch, &record(&[1], 0)[1..]).unwrap();
        let message = error(&directory);
        assert!(message.contains("data_batch_2.bin") && message.contains("ends at byte 3072"), "{message}");
        fs::write(&batch, []).unwrap();
        assert!(error(&directory).contains("empty"));
        fs::remove_file(&batch).unwrap();
        assert!(error(&directory).contains("data_batch_2.bin"));
        fs::write(directory.path().join("batches.meta.txt"), "a\nb\n").unwrap();
        assert!(error(&directory).contains("batches.meta.txt"));
        let empty = tempfile::tempdir().unwrap();
        assert!(error(&empty).contains("test_batch.bin"));
    }
}
