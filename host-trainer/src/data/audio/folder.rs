//! Folders of WAV files: labels from folders, or from the files' names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use smidgen::frontend::AudioConfig;

use super::resample::resample;
use super::silence;
use super::wav::read_wav;
use crate::data::{DataError, Dataset, Split};

/// How recordings become samples.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioOptions {
    /// The front end, whose frames say how long a clip is.
    pub config: AudioConfig,
    /// How files are named, without `.wav`: `{label}` and `{index}` stand for what they say, `{}` for anything else. Empty if the label is the
    /// folder's name, in `train` or `test`.
    pub name_pattern: String,
    /// With a pattern: recordings whose index is less than this are for testing.
    pub test_below: u32,
    /// A folder in the directory with recordings of background noise; empty for none.
    pub background: String,
    /// Whether a recording gives a sample wherever a device would infer, once a stride, and not only its middle.
    pub all_windows: bool,
    /// Whether a class may be in one of the two sets only.
    pub classes_differ: bool,
    /// Clips of a class of its own, [`SILENCE`](super::SILENCE), for each recording of the others; 0 for no such class.
    pub silence: f32,
}

/// A recording and what its path says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    path: PathBuf,
    label: String,
    is_test: bool,
}

/// Loads training and test recordings from a directory and the directories in it. Recordings that are shorter than a clip are put into its middle, of longer
/// ones the middle is taken, or a clip once a stride if the options say so.
///
/// # Errors
/// A directory or file cannot be read, a file is no WAV file or not named as the pattern says, a set is empty, or a class is missing in one: the error names it.
pub fn load_audio_dir(directory: &Path, options: &AudioOptions) -> Result<Split, DataError> {
    let background = load_background(directory, options)?;
    let split = load(directory, options, &background, &["wav"], &|path| wav_clips(path, options))?;
    Ok(Split { background, ..split })
}

/// Reads the clips of a recording.
pub(super) type Clips<'a> = &'a dyn Fn(&Path) -> Result<Vec<Vec<i16>>, DataError>;

/// Loads the recordings of files with one of these extensions.
pub(super) fn load(
    directory: &Path,
    options: &AudioOptions,
    background: &[Vec<i16>],
    extensions: &[&str],
    clips: Clips<'_>,
) -> Result<Split, DataError> {
    let found = find(directory, options, extensions)?;
    let classes = classes_of(&found);
    let set = |is_test| load_set(directory, &found, is_test, &classes, options, background, clips);
    let (train, test) = (set(false)?, set(true)?);
    if options.classes_differ {
        return Split::new(train, test);
    }
    for (there, missing) in [(&train, &test), (&test, &train)] {
        for (label, class) in classes.iter().enumerate() {
            if !missing.labels().contains(&(label as u32)) {
                let (there, missing) = (there.name().into(), missing.name().into());
                return Err(DataError::MissingClass { class: class.clone(), there, missing });
            }
        }
    }
    Split::new(train, test)
}

/// The recordings of background noise, at the rate of the samples.
fn load_background(directory: &Path, options: &AudioOptions) -> Result<Vec<Vec<i16>>, DataError> {
    if options.background.is_empty() {
        return Ok(Vec::new());
    }
    let folder = directory.join(&options.background);
    if !folder.is_dir() {
        return Err(DataError::MissingDirectory { directory: folder });
    }
    let recordings = files(&folder, &["wav"])?;
    if recordings.is_empty() {
        return Err(DataError::MissingFile { directory: folder, names: vec!["*.wav".into()] });
    }
    let load = |path: &PathBuf| {
        let recording = read_wav(path)?;
        let at_rate = resample(&recording.samples, recording.rate, options.config.sample_rate);
        if at_rate.is_empty() {
            return Err(DataError::EmptyFile { file: path.display().to_string(), expected: "sound" });
        }
        // A float to int cast saturates.
        Ok(at_rate.iter().map(|sample| libm::roundf(sample * 32_768.0) as i16).collect())
    };
    recordings.iter().map(load).collect()
}

/// Loads the test recordings only.
///
/// # Errors
/// As [`load_audio_dir`].
pub fn load_test_audio(directory: &Path, options: &AudioOptions) -> Result<Dataset, DataError> {
    let background = if options.silence > 0.0 { load_background(directory, options)? } else { Vec::new() };
    load_test(directory, options, &background, &["wav"], &|path| wav_clips(path, options))
}

/// Loads the test recordings of files with one of these extensions.
pub(super) fn load_test(
    directory: &Path,
    options: &AudioOptions,
    background: &[Vec<i16>],
    extensions: &[&str],
    clips: Clips<'_>,
) -> Result<Dataset, DataError> {
    let found = find(directory, options, extensions)?;
    load_set(directory, &found, true, &classes_of(&found), options, background, clips)
}

/// The clips of a WAV file: its middle, or all of it.
fn wav_clips(path: &Path, options: &AudioOptions) -> Result<Vec<Vec<i16>>, DataError> {
    let recording = read_wav(path)?;
    let at_rate = resample(&recording.samples, recording.rate, options.config.sample_rate);
    let length = options.config.input_samples();
    if options.all_windows && at_rate.len() >= length {
        let samples: Vec<i16> = clip(&at_rate, at_rate.len()).collect();
        return Ok(windows(&samples, &options.config));
    }
    Ok(vec![clip(&at_rate, length).collect()])
}

/// What a device that is fed these samples would ask its network with: an input once a stride.
pub(super) fn windows(samples: &[i16], config: &AudioConfig) -> Vec<Vec<i16>> {
    let stride = config.stride_frames as usize * config.step_samples();
    samples.windows(config.input_samples()).step_by(stride).map(<[i16]>::to_vec).collect()
}

fn classes_of(found: &[Found]) -> Vec<String> {
    let classes: BTreeSet<&str> = found.iter().map(|found| found.label.as_str()).collect();
    classes.into_iter().map(str::to_owned).collect()
}

fn load_set(
    directory: &Path,
    found: &[Found],
    is_test: bool,
    classes: &[String],
    options: &AudioOptions,
    background: &[Vec<i16>],
    clips: Clips<'_>,
) -> Result<Dataset, DataError> {
    let (mut samples, mut labels) = (Vec::new(), Vec::new());
    for Found { path, label, .. } in found.iter().filter(|found| found.is_test == is_test) {
        for clip in clips(path)? {
            samples.extend(clip);
            // It was made of all of them.
            labels.push(classes.binary_search(label).unwrap_or_default() as u32);
        }
    }
    let mut classes = classes.to_vec();
    if options.silence > 0.0 {
        let count = (labels.len() as f32 * options.silence).ceil() as usize;
        let length = options.config.input_samples();
        samples.extend(silence::clips(count, length, background, is_test).into_iter().flatten());
        labels.extend(std::iter::repeat_n(classes.len() as u32, count));
        classes.push(silence::SILENCE.into());
    }
    let name = format!("{} ({})", directory.display(), if is_test { "test" } else { "train" });
    Dataset::of_audio(name, &samples, options.config, labels, classes)
}

/// A recording in the middle of `length` samples, or its middle.
fn clip(samples: &[f32], length: usize) -> impl Iterator<Item = i16> + '_ {
    let before = length.saturating_sub(samples.len()) / 2;
    let left_out = samples.len().saturating_sub(length) / 2;
    (0..length).map(move |n| {
        let sample = n.checked_sub(before).and_then(|n| samples.get(n + left_out)).copied().unwrap_or(0.0);
        // A float to int cast saturates.
        libm::roundf(sample * 32_768.0) as i16
    })
}

fn find(directory: &Path, options: &AudioOptions, extensions: &[&str]) -> Result<Vec<Found>, DataError> {
    if !directory.is_dir() {
        return Err(DataError::MissingDirectory { directory: directory.into() });
    }
    let mut found = Vec::new();
    if options.name_pattern.is_empty() {
        for (part, is_test) in [("train", false), ("test", true)] {
            let root = directory.join(part);
            if !root.is_dir() {
                return Err(DataError::MissingDirectory { directory: root });
            }
            for path in files(&root, extensions)? {
                let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
                found.push(Found { label: folder.to_string_lossy().into_owned(), path, is_test });
            }
        }
    } else {
        let noise = (!options.background.is_empty()).then(|| directory.join(&options.background));
        for path in files(directory, extensions)? {
            if noise.as_ref().is_some_and(|noise| path.starts_with(noise)) {
                continue;
            }
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let Some((label, index)) = read_name(&options.name_pattern, &name) else {
                let (file, pattern) = (path.display().to_string(), options.name_pattern.clone());
                return Err(DataError::FileName { file, pattern });
            };
            found.push(Found { path, label, is_test: index.is_some_and(|index| index < options.test_below) });
        }
    }
    if found.is_empty() {
        let names = extensions.iter().map(|extension| format!("*.{extension}")).collect();
        return Err(DataError::MissingFile { directory: directory.into(), names });
    }
    Ok(found)
}

/// All files with one of these extensions in a directory and those in it, in the order of their paths. Hidden ones are left out.
fn files(directory: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, DataError> {
    let unreadable = |cause| DataError::Unreadable { file: directory.display().to_string(), cause };
    let wanted = |path: &Path| {
        let extension = path.extension().unwrap_or_default();
        extensions.iter().any(|wanted| extension.eq_ignore_ascii_case(wanted))
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path, extensions)?);
        } else if wanted(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// What stands for `{label}` and `{index}` in a name. A placeholder reaches to the first place where the text after it is found, the last one to the end.
fn read_name(pattern: &str, name: &str) -> Option<(String, Option<u32>)> {
    let (mut pattern, mut name) = (pattern, name);
    let (mut label, mut index) = (None, None);
    while let Some((before, after)) = pattern.split_once('{') {
        name = name.strip_prefix(before)?;
        let (what, rest) = after.split_once('}')?;
        let next = &rest[..rest.find('{').unwrap_or(rest.len())];
        let end = if next.is_empty() { name.len() } else { name.find(next)? };
        match what {
            "label" => label = Some(name[..end].to_owned()),
            "index" => index = Some(name[..end].parse().ok()?),
            _ => {}
        }
        (pattern, name) = (rest, &name[end..]);
    }
    (name == pattern).then_some(())?;
    Some((label.filter(|label| !label.is_empty())?, index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hound::{SampleFormat, WavSpec, WavWriter};

    const SPEC: WavSpec =
        WavSpec { channels: 1, sample_rate: 8_000, bits_per_sample: 16, sample_format: SampleFormat::Int };

    fn write(path: &Path, samples: &[i16]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut writer = WavWriter::create(path, SPEC).unwrap();
        samples.iter().for_each(|&sample| writer.write_sample(sample).unwrap());
        writer.finalize().unwrap();
    }

    fn options(name_pattern: &str) -> AudioOptions {
        AudioOptions {
            config: AudioConfig::SPEECH_8_KHZ,
            name_pattern: name_pattern.into(),
            test_below: 5,
            background: String::new(),
            all_windows: false,
            classes_differ: false,
            silence: 0.0,
        }
    }

    #[test]
    fn silence_is_a_class_if_it_is_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["x_a_0", "x_a_5", "x_a_6", "y_a_0", "y_a_5"] {
            write(&directory.path().join(format!("{name}.wav")), &[9; 1_000]);
        }
        let options = AudioOptions { silence: 0.4, ..options("{label}_{}_{index}") };
        let split = load_audio_dir(directory.path(), &options).unwrap();
        assert_eq!(split.train.class_names(), ["x", "y", "_silence_"]);
        assert_eq!((split.train.labels(), split.test.labels()), (&[0, 0, 1, 2, 2][..], &[0, 1, 2][..]));
        assert_eq!(load_test_audio(directory.path(), &options).unwrap(), split.test);
    }

    #[test]
    fn background_noise_is_loaded_and_is_no_sample() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["1_x_0", "1_x_5"] {
            write(&directory.path().join(format!("{name}.wav")), &[9; 1_000]);
        }
        let noisy = AudioOptions { background: "noise".into(), ..options("{label}_{}_{index}") };
        let error = load_audio_dir(directory.path(), &noisy).unwrap_err();
        assert!(matches!(error, DataError::MissingDirectory { .. }), "{error}");
        fs::create_dir(directory.path().join("noise")).unwrap();
        let error = load_audio_dir(directory.path(), &noisy).unwrap_err();
        assert!(matches!(error, DataError::MissingFile { .. }), "{error}");
        write(&directory.path().join("noise/street.wav"), &[7, 8]);
        let split = load_audio_dir(directory.path(), &noisy).unwrap();
        assert_eq!((split.train.len(), split.background), (1, vec![vec![7, 8]]));
    }

    #[test]
    fn names_are_read_by_their_pattern() {
        let fsdd = "{label}_{}_{index}";
        assert_eq!(read_name(fsdd, "7_jackson_32"), Some(("7".into(), Some(32))));
        assert_eq!(read_name(fsdd, "7_jackson"), None);
        assert_eq!(read_name(fsdd, "7_jackson_x"), None);
        assert_eq!(read_name(fsdd, "_jackson_1"), None);
        assert_eq!(read_name("word-{label}", "word-yes"), Some(("yes".into(), None)));
        assert_eq!(read_name("word-{label}", "yes"), None);
        assert_eq!(read_name("{label}.{index}", "a.b.3"), None, "the first dot ends the label");
    }

    #[test]
    fn a_pattern_gives_labels_and_the_split() {
        let directory = tempfile::tempdir().unwrap();
        for (name, value) in [("1_x_0", 10), ("1_x_5", 20), ("0_y_4", 30), ("0_y_50", 40)] {
            write(&directory.path().join("recordings").join(format!("{name}.wav")), &[value; 1_000]);
        }
        let split = load_audio_dir(directory.path(), &options("{label}_{}_{index}")).unwrap();
        assert_eq!(split.train.class_names(), ["0", "1"]);
        assert_eq!((split.train.labels(), split.test.labels()), (&[0, 1][..], &[0, 1][..]));
        let clip: Vec<i16> = super::super::clip_of_bytes(split.train.image(0)).collect();
        let length = AudioConfig::SPEECH_8_KHZ.input_samples();
        assert_eq!((clip.len(), split.train.shape()), (length, [61, 24, 1]));
        let middle = (length - 1_000) / 2;
        assert_eq!(
            [clip[middle - 1], clip[middle], clip[middle + 999], clip[middle + 1_000]],
            [0, 40, 40, 0]
        );
        fs::write(directory.path().join("recordings/notes.wav"), b"x").unwrap();
        let error = load_audio_dir(directory.path(), &options("{label}_{}_{index}")).unwrap_err().to_string();
        assert!(error.contains("notes.wav") && error.contains("{label}_{}_{index}"), "{error}");
    }

    #[test]
    fn folders_give_labels_and_the_split() {
        let directory = tempfile::tempdir().unwrap();
        for path in ["train/no/a.wav", "train/yes/b.wav", "test/yes/c.wav"] {
            write(&directory.path().join(path), &[1; 20_000]);
        }
        let error = load_audio_dir(directory.path(), &options("")).unwrap_err();
        assert!(matches!(&error, DataError::MissingClass { class, .. } if class == "no"), "{error}");
        write(&directory.path().join("test/no/d.wav"), &[1; 5]);
        let split = load_audio_dir(directory.path(), &options("")).unwrap();
        assert_eq!((split.train.len(), split.test.len(), split.test.labels()), (2, 2, &[0, 1][..]));
        assert_eq!(load_test_audio(directory.path(), &options("")).unwrap(), split.test);
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(
            load_audio_dir(empty.path(), &options("")),
            Err(DataError::MissingDirectory { .. })
        ));
        assert!(matches!(
            load_audio_dir(empty.path(), &options("{label}")),
            Err(DataError::MissingFile { .. })
        ));
    }
}
