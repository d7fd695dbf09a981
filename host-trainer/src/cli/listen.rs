//! `smidgen listen`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use smidgen::frontend::AudioConfig;
use smidgen::{Model, Preprocessing};
use smidgen_trainer::data::audio::{read_wav, resample, samples_of_series};
use smidgen_trainer::device::{self, Device, Heard, Target};

use super::eval::of_series;
use super::table::{Align, Table, grouped, printable};
use super::{Outcome, parse_model, print, print_json, read_model};

/// Play WAV files to a model as if they came from a microphone, or CSV and NumPy files as if from a motion sensor, here or on an emulated core.
///
/// Each recording is played to an application that was just started; sound between half a second and a second of silence. On an emulated core, all features, scores and
/// what is heard are compared with this machine's, and the instructions of a second are counted.
#[derive(Debug, clap::Args)]
pub(crate) struct Listen {
    /// The model file
    #[arg(value_name = "MODEL.smg")]
    model: PathBuf,
    /// The recordings
    #[arg(value_name = "FILE", required = true)]
    recordings: Vec<PathBuf>,
    /// Where to listen: host, cortex-m0, cortex-m3, cortex-m4, cortex-m7, cortex-m33 or cortex-m55
    #[arg(long, value_name = "TARGET", default_value_t = Target::Host)]
    on: Target,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// A recording that was listened to.
struct Listened<'a> {
    path: &'a Path,
    heard: Vec<Heard>,
    /// Frames, and those whose features have this machine's bits.
    frames: [usize; 2],
    /// Inferences, and those whose scores and class are this machine's.
    inferences: [usize; 2],
    instructions: Vec<u64>,
}

impl Listen {
    pub(crate) fn run(&self) -> Outcome {
        let file = read_model(&self.model)?;
        let model = parse_model(&self.model, &file)?;
        device::check(self.on)?;
        let Preprocessing::Audio(audio) = model.metadata().preprocessing else {
            return Err(format!("{}: the model takes no sound and no motion; train one with data.dataset = \"audio\" or \"series\"", self.model.display()).into());
        };
        let full_scale = of_series(model.metadata().provenance);
        let mut all = Vec::new();
        for path in &self.recordings {
            let samples = match full_scale {
                Some(full_scale) => samples_of_series(path, &audio.config, full_scale)?,
                None => played(path, &audio.config)?,
            };
            all.push(self.listen(path, file.as_slice(), &samples, audio.config.channels())?);
        }
        if self.json {
            print_json(&self.figures(&model, &all))
        } else {
            print(&self.text(&model, &audio.config, &all)?)
        }
    }

    fn listen<'a>(
        &self,
        path: &'a Path,
        file: &[u8],
        samples: &[i16],
        channels: usize,
    ) -> Result<Listened<'a>, Box<dyn std::error::Error>> {
        let here = Device::new(Target::Host);
        let (features, heard) = (here.features(file, samples)?, here.listen(file, samples)?);
        let there = Device::new(self.on);
        let (other_features, found) = (there.features(file, samples)?, there.listen(file, samples)?);
        let bits = |row: &[f32]| row.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let rows = |features: &[f32]| features.chunks(channels).map(bits).collect::<Vec<_>>();
        let (rows, other_rows) = (rows(&features.features), rows(&other_features.features));
        let same_rows = rows.iter().zip(&other_rows).filter(|(a, b)| a == b).count();
        let same = heard.heard.iter().zip(&found.heard).filter(|(a, b)| a == b).count();
        Ok(Listened {
            path,
            frames: [rows.len(), same_rows],
            inferences: [heard.heard.len(), same],
            instructions: found.instructions,
            heard: found.heard,
        })
    }

    fn figures(&self, model: &Model<'_>, all: &[Listened<'_>]) -> serde_json::Value {
        let metadata = model.metadata();
        let recording = |listened: &Listened<'_>| {
            let events = listened.heard.iter().filter_map(|heard| {
                let class = usize::from(heard.class?);
                Some(serde_json::json!({ "sample": heard.sample, "class": class, "label": metadata.label(class) }))
            });
            serde_json::json!({
                "file": listened.path.display().to_string(),
                "events": events.collect::<Vec<_>>(),
                "frames": listened.frames[0],
                "equal_frames": listened.frames[1],
                "inferences": listened.inferences[0],
                "equal_inferences": listened.inferences[1],
                "instructions": listened.instructions,
            })
        };
        serde_json::json!({
            "model": self.model.display().to_string(),
            "target": self.on.name(),
            "recordings": all.iter().map(recording).collect::<Vec<_>>(),
        })
    }

    fn text(
        &self,
        model: &Model<'_>,
        config: &AudioConfig,
        all: &[Listened<'_>],
    ) -> Result<String, std::fmt::Error> {
        let metadata = model.metadata();
        let mut table = Table::new([("recording", Align::Left), ("heard", Align::Left)]);
        for listened in all {
            let events = listened.heard.iter().filter_map(|heard| {
                let class = usize::from(heard.class?);
                let label = metadata.label(class).map_or_else(|| class.to_string(), printable);
                let rate = config.sample_rate * config.axes;
                Some(format!("{label} at {:.2} s", f64::from(heard.sample) / f64::from(rate)))
            });
            let name = listened.path.display().to_string();
            let events = events.collect::<Vec<_>>().join(", ");
            table.row([name, if events.is_empty() { "nothing".into() } else { events }]);
        }
        let mut text = format!("{table}\n");
        if self.on == Target::Host {
            return Ok(text);
        }
        let sum = |of: fn(&Listened<'_>) -> [usize; 2]| {
            all.iter().map(of).fold([0, 0], |[a, b], [c, d]| [a + c, b + d])
        };
        let ([frames, same_frames], [inferences, same]) = (sum(|one| one.frames), sum(|one| one.inferences));
        writeln!(text, "on an emulated {} (QEMU), against this machine:", self.on)?;
        writeln!(text, "features equal        {same_frames} of {frames} frames, bit for bit")?;
        writeln!(text, "scores, classes equal {same} of {inferences} inferences")?;
        // Before the first inference of a recording there is more than a stride.
        let strides: Vec<u64> =
            all.iter().filter_map(|one| one.instructions.get(1..)).flatten().copied().collect();
        if !strides.is_empty() {
            let mean = strides.iter().sum::<u64>() as f64 / strides.len() as f64;
            let seconds =
                f64::from(config.stride_frames * config.hop_samples) / f64::from(config.sample_rate);
            writeln!(
                text,
                "instructions          {} for a second of {}",
                grouped((mean / seconds) as u64),
                if config.axes == 1 { "sound" } else { "motion" }
            )?;
        }
        Ok(text)
    }
}

/// What is played: silence, the recording, silence.
fn played(path: &Path, config: &AudioConfig) -> Result<Vec<i16>, Box<dyn std::error::Error>> {
    let recording = read_wav(path)?;
    let rate = config.sample_rate as usize;
    let samples = resample(&recording.samples, recording.rate, config.sample_rate);
    // A float to int cast saturates.
    let samples = samples.iter().map(|sample| libm::roundf(sample * 32_768.0) as i16);
    let silence = |length: usize| std::iter::repeat_n(0, length);
    Ok(silence(rate / 2).chain(samples).chain(silence(rate)).collect())
}
