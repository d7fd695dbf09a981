//! `smidgen eval`.

use std::error::Error;
use std::fmt::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use smidgen::Preprocessing;
use smidgen_trainer::data::audio::{AudioOptions, load_test_audio, load_test_series};
use smidgen_trainer::data::{self, Dataset, ImageOptions};
use smidgen_trainer::device::{self, Device, Report, Target};
use smidgen_trainer::evaluate::anomaly::Scores;
use smidgen_trainer::evaluate::masks::{pixel_confusion, segment};
use smidgen_trainer::evaluate::{Confusion, Interface, run_in_parts};

use super::table::{Align, Table, grouped};
use super::train::decision_text;
use super::{Outcome, parse_model, print, print_json, read_model, threads};

/// Measure a model's accuracy on the test images, here or on an emulated core.
#[derive(Debug, clap::Args)]
pub(crate) struct Eval {
    /// The model file
    #[arg(value_name = "MODEL.smg")]
    model: PathBuf,
    /// Directory of a data set in MNIST's or CIFAR's format, or of images in test/CLASS [default: the bundled digits]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to run: host, cortex-m0, cortex-m3, cortex-m4, cortex-m7, cortex-m33 or cortex-m55
    #[arg(long, value_name = "TARGET", default_value = "host")]
    on: Target,
    /// Use only the first N test images
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Threads, or emulators side by side, to use; the result does not depend on it [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

impl Eval {
    pub(crate) fn run(&self) -> Outcome {
        let file = read_model(&self.model)?;
        let model = parse_model(&self.model, &file)?;
        device::check(self.on)?;
        let named = |error| format!("{}: {error}", self.model.display());
        let interface = Interface::of(&model).map_err(named)?;
        let test = test_set(self.data.as_deref(), &interface, model.metadata().provenance, self.limit)?;
        let task = task(model.metadata().provenance);
        if mask_classes(model.metadata().provenance).is_some() {
            return self.masks(file.as_slice(), &test);
        }
        let inputs = if task.is_some() { interface.samples(&test) } else { interface.inputs(&test) };
        let inputs = inputs.map_err(named)?;
        if self.on != Target::Host {
            eprintln!("running {} test samples on an emulated {}", test.len(), self.on);
        }
        let run_bytes = interface.input.bytes().unwrap_or(0);
        // Test images have no order.
        let device = Device::new(self.on).reset_state();
        let report = run_in_parts(&device, file.as_slice(), &inputs, run_bytes, threads(self.threads))?;
        if let Some((normal, threshold)) = task {
            let scores = Scores::of(&interface.scores(&inputs, &report.outputs), &test, &normal);
            return self.anomalies(&report, &test, &scores, threshold);
        }
        let predictions = interface.predictions(&report.outputs);
        let confusion = Confusion::of(&predictions, test.labels(), test.class_names().len());
        if self.json {
            self.print_json(&report, &test, &confusion)
        } else {
            self.print(&report, &test, &confusion)
        }
    }

    /// How well anomalies are told from what is normal.
    fn anomalies(&self, report: &Report, test: &Dataset, scores: &Scores, threshold: f32) -> Outcome {
        let decision = scores.decide(threshold);
        if self.json {
            return print_json(&serde_json::json!({
                "model": self.model.display().to_string(),
                "dataset": test.name(),
                "target": self.on.name(),
                "samples": test.len(),
                "auc": scores.auc(),
                "decision": decision,
                "instructions": report.instructions,
                "arena_bytes": report.arena_bytes,
                "stack_peak_bytes": report.stack_peak_bytes,
                "model_bytes": report.model_bytes,
            }));
        }
        let auc = scores.auc().map_or_else(|| "-".to_owned(), |auc| format!("{auc:.4}"));
        let result = format!("area under ROC  {auc}\n{}", decision_text(&decision, 16));
        print(&format!("{}{result}{}", self.heading(test), costs(report)))
    }

    /// How well masks are found.
    fn masks(&self, file: &[u8], test: &Dataset) -> Outcome {
        let device = Device::new(self.on).reset_state();
        let (masks, report) = segment(&device, file, test, threads(self.threads))?;
        let confusion = pixel_confusion(&masks, test);
        if self.json {
            return self.print_json(&report, test, &confusion);
        }
        let result = format!(
            "pixels right    {:.2} %\nmean IoU        {:.2} %\n",
            confusion.accuracy().fraction() * 100.0,
            confusion.mean_iou() * 100.0
        );
        let table = confusion_table(&confusion, test.class_names());
        print(&format!("{}{result}{}\n{table}", self.heading(test), costs(&report)))
    }

    fn print_json(&self, report: &Report, test: &Dataset, confusion: &Confusion) -> Outcome {
        let accuracy = confusion.accuracy();
        print_json(&serde_json::json!({
            "model": self.model.display().to_string(),
            "dataset": test.name(),
            "target": self.on.name(),
            "samples": accuracy.samples,
            "correct": accuracy.correct,
            "accuracy": accuracy.fraction(),
            "instructions": report.instructions,
            "arena_bytes": report.arena_bytes,
            "stack_peak_bytes": report.stack_peak_bytes,
            "model_bytes": report.model_bytes,
            "classes": test.class_names(),
            "confusion": confusion,
            "mean_iou": confusion.mean_iou(),
        }))
    }

    fn print(&self, report: &Report, test: &Dataset, confusion: &Confusion) -> Outcome {
        let accuracy = confusion.accuracy();
        let mut text = self.heading(test);
        let (percent, samples) = (accuracy.fraction() * 100.0, grouped(accuracy.samples as u64));
        writeln!(
            text,
            "accuracy        {percent:.2} %  ({} of {samples})",
            grouped(accuracy.correct as u64)
        )?;
        text += &costs(report);
        print(&(text + "\n" + &confusion_table(confusion, test.class_names())))
    }

    fn heading(&self, test: &Dataset) -> String {
        let place =
            if self.on == Target::Host { "this machine".into() } else { format!("an emulated {}", self.on) };
        format!("{} on {} ({place}):\n", self.model.display(), test.name())
    }
}

/// What an inference takes.
fn costs(report: &Report) -> String {
    let instructions = report.instructions.map_or_else(String::new, |instructions| {
        format!("instructions    {} per inference\n", grouped(instructions))
    });
    let stack = report.stack_peak_bytes.map(|bytes| format!(", {} bytes of stack", grouped(bytes.into())));
    format!(
        "{instructions}RAM             {} bytes of arena{}\nmodel file      {} bytes\n",
        grouped(report.arena_bytes.into()),
        stack.unwrap_or_default(),
        grouped(report.model_bytes as u64)
    )
}

/// Of a model that finds masks, which it says itself: the grey values of the classes.
fn mask_classes(provenance: &str) -> Option<Vec<String>> {
    let provenance: serde_json::Value = serde_json::from_str(provenance).ok()?;
    let names = provenance["task"]["classes"].as_array()?.iter();
    names.map(|name| Some(name.as_str()?.to_owned())).collect()
}

/// Of a model that gives its input back, which it says itself: the classes that are normal, and the threshold.
fn task(provenance: &str) -> Option<(Vec<String>, f32)> {
    let provenance: serde_json::Value = serde_json::from_str(provenance).ok()?;
    let task = &provenance["task"];
    let names = task["normal"].as_array()?.iter().filter_map(|name| Some(name.as_str()?.to_owned()));
    Some((names.collect(), task["threshold"].as_f64()? as f32))
}

/// How a model's images were scaled and cut out, which it says itself if it was trained here.
fn image_options(interface: &Interface<'_>, provenance: &str) -> ImageOptions {
    let provenance: serde_json::Value = serde_json::from_str(provenance).unwrap_or_default();
    let pair = |key: &str| {
        let side = |index: usize| Some(provenance["recipe"]["data"][key].get(index)?.as_u64()? as usize);
        side(0).zip(side(1)).map(|(height, width)| [height, width])
    };
    let [.., channels] = interface.input.shape.dims();
    // Nothing is trained on here.
    let (greyscale, classes_differ) = (channels == 1, true);
    ImageOptions { size: pair("image_size"), crop: pair("crop"), greyscale, classes_differ }
}

/// How a model's recordings are named, which it says itself if it was trained here; nothing for a model that takes no sound.
fn audio_options(interface: &Interface<'_>, provenance: &str) -> Option<AudioOptions> {
    let Preprocessing::Audio(audio) = interface.preprocessing else { return None };
    let provenance: serde_json::Value = serde_json::from_str(provenance).unwrap_or_default();
    let data = &provenance["recipe"]["data"];
    let name_pattern = data["name_pattern"].as_str().unwrap_or_default().to_owned();
    let test_below = data["test_below"].as_u64().and_then(|below| u32::try_from(below).ok()).unwrap_or(0);
    let background = data["background"].as_str().unwrap_or_default().to_owned();
    let all_windows = data["all_windows"].as_bool().unwrap_or(false);
    let silence = data["silence"].as_f64().unwrap_or(0.0) as f32;
    let config = audio.config;
    // Nothing is trained on here.
    let classes_differ = true;
    Some(AudioOptions { config, name_pattern, test_below, background, silence, all_windows, classes_differ })
}

/// The value that is full scale, for a model of time series.
pub(super) fn of_series(provenance: &str) -> Option<f32> {
    let provenance: serde_json::Value = serde_json::from_str(provenance).ok()?;
    provenance["recipe"]["data"]["full_scale"].as_f64().map(|scale| scale as f32)
}

/// The first `limit` test samples of the data in `directory`, or of the bundled digits.
fn test_set(
    directory: Option<&Path>,
    interface: &Interface<'_>,
    provenance: &str,
    limit: Option<u32>,
) -> Result<Dataset, Box<dyn Error>> {
    let images = image_options(interface, provenance);
    let test = match (directory, audio_options(interface, provenance)) {
        (None, Some(_)) => {
            return Err("the model listens: give the directory of its recordings with --data DIR".into());
        }
        (Some(directory), Some(audio)) if of_series(provenance).is_some() => {
            load_test_series(directory, &audio, of_series(provenance).unwrap_or(1.0))?
        }
        (Some(directory), Some(audio)) => load_test_audio(directory, &audio)?,
        (None, None) => data::digits()?.test,
        (Some(directory), None) if directory.join("test").is_dir() => match mask_classes(provenance) {
            Some(names) => data::load_test_masks(directory, images, &names)?,
            None => data::load_test_images(directory, images)?,
        },
        (Some(directory), None) if data::is_cifar_dir(directory) => data::load_cifar_dir(directory)?.test,
        (Some(directory), None) => data::load_mnist_dir(directory)?.test,
    };
    match limit {
        Some(limit) if (limit as usize) < test.len() => {
            let name = format!("the first {limit} of {}", test.name());
            Ok(test.select(name, &(0..limit).collect::<Vec<_>>())?)
        }
        _ => Ok(test),
    }
}

/// A row for each label; zeros are dots, to let the others stand out.
fn confusion_table(confusion: &Confusion, classes: &[String]) -> String {
    let width =
        confusion.counts.iter().flatten().map(|count| count.to_string().len()).max().unwrap_or(0).max(3);
    let name = |class: usize| classes.get(class).cloned().unwrap_or_default();
    let columns: String =
        (0..classes.len()).map(|class| format!(" {:>width$.width$}", name(class))).collect();
    let mut table = Table::new([("label", Align::Left), ("taken for", Align::Left), ("right", Align::Right)]);
    table.row([String::new(), columns, String::new()]);
    for (class, row) in confusion.counts.iter().enumerate() {
        let cell = |&count: &usize| {
            let text = if count == 0 { "·".into() } else { count.to_string() };
            format!(" {text:>width$}")
        };
        let (right, all) = (row.get(class).copied().unwrap_or(0), row.iter().sum::<usize>());
        let share = 100.0 * right as f64 / all.max(1) as f64;
        table.row([name(class), row.iter().map(cell).collect(), format!("{share:.1} %")]);
    }
    table.to_string()
}
