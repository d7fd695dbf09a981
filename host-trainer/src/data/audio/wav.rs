//! WAV files.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use hound::{SampleFormat, WavReader};

use crate::data::DataError;

/// A recording of one channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// Samples a second.
    pub rate: u32,
    /// From -1 to 1.
    pub samples: Vec<f32>,
}

/// Reads a WAV file of integers up to 32 bits or floats; several channels become their mean.
///
/// # Errors
/// The file cannot be read, is empty, is not a WAV file, breaks off, or holds no samples.
pub fn read_wav(path: &Path) -> Result<Recording, DataError> {
    let file = || path.display().to_string();
    let length = fs::metadata(path).map_err(|cause| DataError::Unreadable { file: file(), cause })?.len();
    if length == 0 {
        return Err(DataError::EmptyFile { file: file(), expected: "WAV" });
    }
    let not_audio = |message: String| DataError::NotAudio { file: file(), message };
    let cause = |error: hound::Error| match error {
        // Its own message for a file that ends too early has this kind, too.
        hound::Error::IoError(cause)
            if matches!(cause.kind(), ErrorKind::UnexpectedEof | ErrorKind::Other) =>
        {
            format!("the file ends at byte {length}, earlier than its header says")
        }
        error => error.to_string(),
    };
    let mut reader = WavReader::open(path).map_err(|error| not_audio(cause(error)))?;
    let spec = reader.spec();
    let channels = usize::from(spec.channels);
    if channels == 0 || spec.sample_rate == 0 {
        return Err(not_audio(format!("{channels} channels of {} Hz", spec.sample_rate)));
    }
    // Where a file breaks off, in frames.
    let broken = |index: usize, error: hound::Error| not_audio(format!("sample {index}: {}", cause(error)));
    let values: Vec<f32> = match spec.sample_format {
        SampleFormat::Float => {
            let samples = reader.samples::<f32>().enumerate();
            samples
                .map(|(index, value)| value.map_err(|error| broken(index, error)))
                .collect::<Result<_, _>>()?
        }
        SampleFormat::Int => {
            let scale = 1.0 / (1_u64 << (spec.bits_per_sample.clamp(1, 32) - 1)) as f32;
            let samples = reader.samples::<i32>().enumerate();
            let value = |(index, value): (usize, hound::Result<i32>)| match value {
                Ok(value) => Ok(value as f32 * scale),
                Err(error) => Err(broken(index, error)),
            };
            samples.map(value).collect::<Result<_, _>>()?
        }
    };
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(not_audio(format!("sample {index} is {}, expected a finite number", values[index])));
    }
    let samples: Vec<f32> =
        values.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() / channels as f32).collect();
    if samples.is_empty() {
        return Err(not_audio("it has no samples".into()));
    }
    Ok(Recording { rate: spec.sample_rate, samples })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hound::{WavSpec, WavWriter};

    fn write(name: &str, spec: WavSpec, samples: &[i32]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = WavWriter::create(directory.path().join(name), spec).unwrap();
        samples.iter().for_each(|&sample| writer.write_sample(sample).unwrap());
        writer.finalize().unwrap();
        directory
    }

    #[test]
    fn channels_become_their_mean_in_any_width() {
        for bits_per_sample in [8, 16, 24, 32] {
            let spec = WavSpec {
                channels: 2,
                sample_rate: 8_000,
                bits_per_sample,
                sample_format: SampleFormat::Int,
            };
            let half = 1 << (bits_per_sample - 2);
            let directory = write("a.wav", spec, &[half, 0, -half, -half]);
            let found = read_wav(&directory.path().join("a.wav")).unwrap();
            assert_eq!(found, Recording { rate: 8_000, samples: vec![0.25, -0.5] }, "{bits_per_sample} bits");
        }
    }

    #[test]
    fn what_is_no_wav_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("b.wav");
        let message = || read_wav(&path).unwrap_err().to_string();
        assert!(message().contains("b.wav"), "{}", message());
        fs::write(&path, b"").unwrap();
        assert!(matches!(read_wav(&path), Err(DataError::EmptyFile { .. })));
        fs::write(&path, b"RIFF this is no wave").unwrap();
        assert!(matches!(read_wav(&path), Err(DataError::NotAudio { .. })), "{}", message());
        let spec = WavSpec {
            channels: 1,
            sample_rate: 8_000,
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let good = write("c.wav", spec, &[1; 100]);
        let bytes = fs::read(good.path().join("c.wav")).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 51]).unwrap();
        assert!(message().contains("sample 74: the file ends at byte 193"), "{}", message());
    }
}
