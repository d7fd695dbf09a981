//! Time series of a sensor: CSV and NumPy files, a column for each axis.

use std::fs;
use std::path::Path;

use smidgen::frontend::AudioConfig;

use super::folder::{AudioOptions, load, load_test, windows};
use crate::data::{DataError, Dataset, Split};
use crate::npy::{self, ElementKind};

const EXTENSIONS: [&str; 2] = ["csv", "npy"];

/// Loads training and test recordings of a sensor from a directory and the directories in it: `.csv` and `.npy` files, labelled as WAV files are. A recording gives a sample
/// wherever a device would infer, once a stride.
///
/// `full_scale` is the value that becomes 32,768, such as 4 for an accelerometer of 4 g; what is beyond it is cut off.
///
/// # Errors
/// As [`load_audio_dir`](super::load_audio_dir); a file is not what [`read_series`] reads, or shorter than an input. The error names file and line.
pub fn load_series_dir(
    directory: &Path,
    options: &AudioOptions,
    full_scale: f32,
) -> Result<Split, DataError> {
    load(directory, options, &[], &EXTENSIONS, &|path| clips(path, options, full_scale))
}

/// Loads the test recordings only.
///
/// # Errors
/// As [`load_series_dir`].
pub fn load_test_series(
    directory: &Path,
    options: &AudioOptions,
    full_scale: f32,
) -> Result<Dataset, DataError> {
    load_test(directory, options, &[], &EXTENSIONS, &|path| clips(path, options, full_scale))
}

/// The samples of a recording, the axes in turns.
///
/// # Errors
/// As [`read_series`].
pub fn samples_of_series(path: &Path, config: &AudioConfig, full_scale: f32) -> Result<Vec<i16>, DataError> {
    let values = read_series(path, config.axes as usize)?;
    // A float to int cast saturates.
    Ok(values.iter().map(|value| libm::roundf(value / full_scale * 32_768.0) as i16).collect())
}

/// The samples of a file that a network is asked with: an input's, once a stride.
fn clips(path: &Path, options: &AudioOptions, full_scale: f32) -> Result<Vec<Vec<i16>>, DataError> {
    let config = &options.config;
    let samples = samples_of_series(path, config, full_scale)?;
    let length = config.input_samples();
    if samples.len() < length {
        let axes = config.axes as usize;
        let (found, expected) = (samples.len() / axes, length / axes);
        let message = format!("{found} rows, expected at least {expected}, the length of an input");
        return Err(DataError::Series { place: path.display().to_string(), message });
    }
    Ok(windows(&samples, config))
}

/// Reads a recording of `axes` axes: rows of a value for each axis, one row after another.
///
/// A `.npy` file holds an array `[rows, axes]` (or `[rows]` for one axis) of float32 or of integers up to 32 bits. Any other file is text: a line for each row, the values separated by commas, semicolons, tabs or spaces. The first
/// line may be a heading, empty lines are left out.
///
/// # Errors
/// The file cannot be read, is empty or malformed, has another number of columns, or a value that is not a finite number: the error names file and line.
pub fn read_series(path: &Path, axes: usize) -> Result<Vec<f32>, DataError> {
    let file = || path.display().to_string();
    let bytes = fs::read(path).map_err(|cause| DataError::Unreadable { file: file(), cause })?;
    if bytes.is_empty() {
        return Err(DataError::EmptyFile { file: file(), expected: "numbers" });
    }
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy")) {
        return parse_array(&bytes, axes)
            .map_err(|(row, message)| DataError::Series { place: at(&file(), "row", row), message });
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| DataError::Series { place: file(), message: format!("not text: {error}") })?;
    parse_text(text, axes)
        .map_err(|(line, message)| DataError::Series { place: at(&file(), "line", line), message })
}

/// A file and the place in it, where that is known.
fn at(file: &str, what: &str, number: Option<usize>) -> String {
    number.map_or_else(|| file.to_owned(), |number| format!("{file}, {what} {number}"))
}

type Wrong = (Option<usize>, String);

fn parse_text(text: &str, axes: usize) -> Result<Vec<f32>, Wrong> {
    let mut values = Vec::new();
    for (line, row) in (1..).zip(text.lines()) {
        let row = row.trim();
        if row.is_empty() {
            continue;
        }
        let separator = [',', ';', '\t'].into_iter().find(|&separator| row.contains(separator));
        let fields: Vec<&str> = match separator {
            Some(separator) => row.split(separator).map(str::trim).collect(),
            None => row.split_whitespace().collect(),
        };
        // A heading has no number at all.
        if values.is_empty() && line == 1 && fields.iter().all(|field| field.parse::<f32>().is_err()) {
            continue;
        }
        if fields.len() != axes {
            let message = format!("{} columns, expected {axes}, one for each axis", fields.len());
            return Err((Some(line), message));
        }
        for (column, field) in (1..).zip(fields) {
            match field.parse::<f32>() {
                Ok(value) if value.is_finite() => values.push(value),
                _ => {
                    let message = format!("column {column} is {field:?}, expected a finite number");
                    return Err((Some(line), message));
                }
            }
        }
    }
    if values.is_empty() { Err((None, "no row of numbers".into())) } else { Ok(values) }
}

fn parse_array(file: &[u8], axes: usize) -> Result<Vec<f32>, Wrong> {
    let array = npy::parse(file).map_err(|error| (None, error.to_string()))?;
    match *array.shape.as_slice() {
        [_, columns] if columns == axes => {}
        [_] if axes == 1 => {}
        _ => {
            let message = format!("an array of shape {:?}, expected [rows, {axes}]", array.shape);
            return Err((None, message));
        }
    }
    let bytes = array.bytes.as_slice();
    let values: Vec<f32> = match array.kind {
        ElementKind::I8 => bytes.iter().map(|byte| f32::from(byte.cast_signed())).collect(),
        ElementKind::U8 => bytes.iter().map(|&byte| f32::from(byte)).collect(),
        ElementKind::I16 => {
            bytes.as_chunks::<2>().0.iter().map(|&b| f32::from(i16::from_le_bytes(b))).collect()
        }
        ElementKind::I32 => bytes.as_chunks::<4>().0.iter().map(|&b| i32::from_le_bytes(b) as f32).collect(),
        ElementKind::F32 => bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
    };
    match values.iter().position(|value| !value.is_finite()) {
        Some(place) => {
            let message =
                format!("column {} is {}, expected a finite number", place % axes + 1, values[place]);
            Err((Some(place / axes), message))
        }
        None if values.is_empty() => Err((None, "no rows".into())),
        None => Ok(values),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::npy::Array;

    fn read(name: &str, bytes: impl AsRef<[u8]>, axes: usize) -> Result<Vec<f32>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        read_series(&path, axes).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_of_text_are_read_with_and_without_a_heading() {
        let expected = Ok(vec![1.0, -2.5, 3.0, 4.0]);
        for text in ["x,y\n1,-2.5\n\n3, 4\n", "1;-2.5\r\n3;4", "x y\n1 -2.5\n3   4e0\n", "1\t-2.5\n3\t4\n"] {
            assert_eq!(read("a.csv", text, 2), expected, "{text:?}");
        }
    }

    #[test]
    fn errors_name_file_line_and_column() {
        for (text, parts) in [
            ("x,y\n1,2\n3\n", ["a.csv, line 3", "1 columns, expected 2"]),
            ("1,2\n3,x\n", ["a.csv, line 2", "column 2 is \"x\""]),
            ("1,2\nnan,2\n", ["a.csv, line 2", "column 1 is \"nan\""]),
            ("x,y\nz,w\n", ["a.csv, line 2", "column 1 is \"z\""]),
            ("x,y\n", ["a.csv", "no row of numbers"]),
            ("", ["a.csv", "empty"]),
        ] {
            let error = read("a.csv", text, 2).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{text:?}: {error}");
        }
        assert!(read("a.csv", [0xff, 0xfe], 2).unwrap_err().contains("not text"));
    }

    #[test]
    fn arrays_are_read() {
        let array = |kind, shape: &[usize], bytes: &[u8]| {
            Array { kind, shape: shape.to_vec(), bytes: bytes.to_vec() }.to_file()
        };
        let halves = [0.5_f32, -1.0, 2.0, f32::INFINITY].map(f32::to_le_bytes);
        let file = array(ElementKind::F32, &[1, 3], &halves.as_flattened()[..12]);
        assert_eq!(read("a.npy", file, 3), Ok(vec![0.5, -1.0, 2.0]));
        assert_eq!(read("a.npy", array(ElementKind::I16, &[2], &[1, 0, 0xff, 0xff]), 1), Ok(vec![1.0, -1.0]));
        let error = read("a.npy", array(ElementKind::F32, &[2, 2], halves.as_flattened()), 2).unwrap_err();
        assert!(error.contains("a.npy, row 1") && error.contains("column 2 is inf"), "{error}");
        let error = read("a.npy", array(ElementKind::U8, &[2, 2], &[0; 4]), 3).unwrap_err();
        assert!(error.contains("[2, 2], expected [rows, 3]"), "{error}");
        assert!(read("a.npy", b"1,2,3", 3).unwrap_err().contains("a.npy: byte 0"));
    }

    #[test]
    fn a_recording_gives_a_sample_for_every_stride() {
        let directory = tempfile::tempdir().unwrap();
        let config = AudioConfig::MOTION_50_HZ;
        let options = AudioOptions {
            config,
            name_pattern: String::new(),
            test_below: 0,
            background: String::new(),
            all_windows: false,
            classes_differ: false,
            silence: 0.0,
        };
        let rows = config.input_samples() / 3;
        let write = |path: &str, rows: usize| {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let lines = (0..rows).map(|n| format!("{},{},{}\n", n % 7, 2.0, -9.0));
            fs::write(path, lines.collect::<String>()).unwrap();
        };
        for path in ["train/still/a.csv", "train/wave/b.csv", "test/still/c.csv", "test/wave/d.csv"] {
            write(path, rows + 2 * 64);
        }
        let split = load_series_dir(directory.path(), &options, 8.0).unwrap();
        assert_eq!(split.train.class_names(), ["still", "wave"]);
        assert_eq!((split.train.labels(), split.train.shape()), (&[0, 0, 0, 1, 1, 1][..], [4, 21, 1]));
        let clip: Vec<i16> = super::super::clip_of_bytes(split.train.image(1)).collect();
        // A stride is 64 rows; -9 of 8 is cut off.
        assert_eq!((clip.len(), &clip[..4]), (rows * 3, &[4_096, 8_192, -32_768, 8_192][..]));
        write("train/wave/short.csv", rows - 1);
        let error = load_series_dir(directory.path(), &options, 8.0).unwrap_err().to_string();
        assert!(error.contains("short.csv") && error.contains("rows, expected at least"), "{error}");
    }
}
