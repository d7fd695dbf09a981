//! `smidgen train`.

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use smidgen_trainer::buffer::AlignedBytes;
use smidgen_trainer::compile::quantize::{Sensitivity, pixel_classes};
use smidgen_trainer::compile::{LowerOptions, Prefer};
use smidgen_trainer::data::audio::{load_audio_dir, load_series_dir};
use smidgen_trainer::data::{self, DataError, Split};
use smidgen_trainer::device::{Device, Target, check};
use smidgen_trainer::evaluate::anomaly::{Decision, Scores, reconstruct};
use smidgen_trainer::evaluate::masks::{pixel_confusion, segment};
use smidgen_trainer::evaluate::{Confusion, Interface, run_in_parts};
use smidgen_trainer::inspect::inspect;
use smidgen_trainer::pipeline::{
    Quantized, Run, Trained, Training, float_outputs, float_scores, measure_ensemble, measure_sensitivity,
    normal_classes, quantize_trained_for, train,
};
use smidgen_trainer::recipe::{Recipe, TaskKind};
use smidgen_trainer::report::{
    self, MaskPicture, Mistake, TargetFigures, layer_figures, target_figures, worst_masks, worst_mistakes,
};
use smidgen_trainer::train::LossSum;
use smidgen_trainer::train::files::{make_directory, write_atomically};

use super::progress::TrainingProgress;
use super::table::grouped;
use super::{Outcome, print, print_json, stop_on_ctrl_c, threads};

/// Train and quantize a network as a recipe says.
#[derive(Debug, clap::Args)]
pub(crate) struct Train {
    #[command(flatten)]
    source: Source,
    /// Where to write model.smg, weights.safetensors, metrics.json, report.html and the checkpoint [default: runs/NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Threads to use; the result does not depend on it [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Go on from the checkpoint in the output directory, if there is one
    #[arg(long)]
    resume: bool,
    /// Pack int8 weights for the kernels of this core; the model runs everywhere with the same bits, but fastest there
    #[arg(long = "for", value_name = "TARGET", default_value = "host")]
    packed_for: Target,
    /// What the choice of layouts is for: speed, ram or flash
    #[arg(long, value_name = "WHAT", default_value_t)]
    prefer: Prefer,
    /// Run the model on this emulated core, too, for the report; may be given several times
    #[arg(long, value_name = "TARGET")]
    measure: Vec<Target>,
    /// Print the metrics as one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// A recipe and its data.
#[derive(Debug, clap::Args)]
pub(crate) struct Source {
    #[arg(help = format!("A built-in recipe ({}) or a TOML file", built_in_names().join(", ")))]
    pub(crate) recipe: String,
    /// Directory of the data, for recipes whose data are not bundled
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Passes over the training samples
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,
    /// Seed of the weights, the order of the samples and the augmentation
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Change a value of the recipe, for example `--set schedule.learning_rate=0.01`
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

fn built_in_names() -> Vec<&'static str> {
    Recipe::built_in_names().collect()
}

impl Source {
    /// The recipe, with what the command line changes of it.
    pub(crate) fn recipe(&self) -> Result<Recipe, Box<dyn Error>> {
        let mut recipe = Recipe::load(&self.recipe)?;
        let numbers = [("epochs", self.epochs.map(u64::from)), ("seed", self.seed)];
        let numbers = numbers.map(|(key, value)| value.map(|value| format!("training.{key}={value}")));
        recipe.set_all(self.set.iter().chain(numbers.iter().flatten()).map(String::as_str))?;
        Ok(recipe)
    }
}

impl Train {
    pub(crate) fn run(&self) -> Outcome {
        let recipe = self.source.recipe()?;
        let out = self.out.clone().unwrap_or_else(|| Path::new("runs").join(&recipe.name));
        make_directory(&out)?;
        let split = load_data(&recipe, self.source.data.as_deref())?;
        let stop = stop_on_ctrl_c()?;
        let threads = threads(self.threads);
        let (packing, prefer) = (self.packed_for.packing(), self.prefer);
        let lower = LowerOptions { packing, prefer, ..LowerOptions::default() };
        let (out, resume) = (out.as_path(), self.resume);
        for &target in &self.measure {
            check(target)?;
        }
        let measured = self.measure.as_slice();
        let job = Job { recipe: &recipe, split: &split, out: Some(out), threads, resume, lower, measured };
        let Some(finished) = job.run(&stop)? else {
            eprintln!(
                "stopped; go on with: smidgen train {} --resume (and the same options)",
                self.source.recipe
            );
            return Ok(ExitCode::from(130));
        };
        if self.json {
            return print_json(&finished.metrics(&recipe));
        }
        let wrote = "model.smg, weights.safetensors, metrics.json, report.html, recipe.toml and events for TensorBoard";
        print(&format!("{}wrote {wrote} to {}\n", finished.text(), out.display()))
    }
}

/// The data that a recipe names.
pub(crate) fn load_data(recipe: &Recipe, directory: Option<&Path>) -> Result<Split, Box<dyn Error>> {
    let split = match (recipe.data.dataset.as_str(), directory) {
        ("digits", None) => data::digits()?,
        ("digits" | "mnist", Some(directory)) => data::load_mnist_dir(directory)?,
        ("images", Some(directory)) if recipe.task.kind == TaskKind::Segment => {
            data::load_mask_dir(directory, recipe.image_options())?
        }
        ("images", Some(directory)) => data::load_image_dir(directory, recipe.image_options())?,
        ("cifar", Some(directory)) => data::load_cifar_dir(directory)?,
        ("audio", Some(directory)) => load_audio_dir(directory, &recipe.audio_options())?,
        ("series", Some(directory)) => {
            load_series_dir(directory, &recipe.audio_options(), recipe.data.full_scale)?
        }
        (dataset @ ("mnist" | "images" | "cifar" | "audio" | "series"), None) => return Err(format!(
            "the recipe's data.dataset is {dataset}, which is not bundled: give its directory with --data DIR"
        )
        .into()),
        (other, _) => {
            let expected = "digits, mnist, images, cifar, audio or series";
            return Err(format!("data.dataset is {other:?}, expected {expected}").into());
        }
    };
    let of = |key: &str, error: DataError| format!("{key}: {error}");
    let split = split.leaving_out(&recipe.data.leave_out).map_err(|error| of("data.leave_out", error))?;
    Ok(split.keeping(&recipe.task.normal).map_err(|error| of("task.normal", error))?)
}

/// What a threshold makes of the test set, in lines whose names have this width.
pub(crate) fn decision_text(decision: &Decision, width: usize) -> String {
    let Decision { threshold, detected, anomalous, false_alarms, normal } = *decision;
    let share = |part: usize, all: usize| {
        format!("{part} of {all}, {:.2} %", 100.0 * part as f64 / all.max(1) as f64)
    };
    let detected =
        if anomalous == 0 { "no anomalies in the test set".to_owned() } else { share(detected, anomalous) };
    let (threshold, false_alarms) = (threshold.to_string(), share(false_alarms, normal));
    [("threshold", threshold), ("detected", detected), ("false alarms", false_alarms)]
        .map(|(name, value)| format!("{name:<width$}{value}\n"))
        .concat()
}

/// Training, quantizing and measuring, with what is shown on the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) split: &'a Split,
    /// Where to write; nowhere without it.
    pub(crate) out: Option<&'a Path>,
    pub(crate) threads: usize,
    pub(crate) resume: bool,
    /// How the int8 model is compiled.
    pub(crate) lower: LowerOptions,
    /// The emulated cores that run it for the report.
    pub(crate) measured: &'a [Target],
}

/// A finished run.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) trained: Trained,
    pub(crate) quantized: Quantized,
    result: TestResult,
    /// What quantization costs each layer.
    sensitivity: Sensitivity,
    targets: Vec<TargetFigures>,
}

/// What came out on the test set.
#[derive(Debug)]
enum TestResult {
    Classes { int8: Confusion, ensemble: Option<LossSum>, mistakes: Vec<Mistake> },
    Reconstruction { float: Scores, int8: Scores, decision: Decision },
    Masks { float: Confusion, int8: Confusion, pictures: Vec<MaskPicture> },
}

/// Held-out samples on which the cost of quantization is measured for each layer.
const SENSITIVITY_SAMPLES: usize = 256;
/// Mistakes that the report shows.
const MISTAKES: usize = 30;
/// Masks that it shows.
const MASKS: usize = 8;

impl Job<'_> {
    /// Trains; nothing if it was stopped.
    pub(crate) fn run(&self, stop: &AtomicBool) -> Result<Option<Finished>, Box<dyn Error>> {
        let Self { recipe, split, out, threads, resume, lower, measured } = *self;
        eprintln!(
            "training {} ({}) on {} samples, {} epochs, {} threads, {:?} kernels",
            recipe.name,
            recipe.network_name(),
            split.train.len(),
            recipe.training.epochs,
            threads,
            smidgen::kernels::isa::current(),
        );
        let checkpoint = out.map(|out| out.join("checkpoint.safetensors"));
        if let (true, Some(path)) = (resume, checkpoint.as_deref().filter(|path| !path.exists())) {
            eprintln!("there is no {}: training begins anew", path.display());
        }
        let run = Run { recipe, split, threads, checkpoint: checkpoint.as_deref(), resume, stop };
        let trained = match train(&run, &mut TrainingProgress::new(out))? {
            Training::Stopped(_) => return Ok(None),
            Training::Done(trained) => *trained,
        };
        let quantized = quantize_trained_for(recipe, split, &trained, &lower)?;
        let result = self.test(&trained, &quantized)?;
        let sensitivity = measure_sensitivity(recipe, split, &trained, &quantized, SENSITIVITY_SAMPLES)?;
        let interface = Interface::of_file(&quantized.file)?;
        let first = split.test.select("the first test sample", &[0])?;
        let targets = target_figures(&quantized, lower.prefer, measured, &interface.samples(&first)?)?;
        let finished = Finished { trained, quantized, result, sensitivity, targets };
        if let Some(out) = out {
            write_atomically(&out.join("recipe.toml"), recipe.to_toml().as_bytes())?;
            write_atomically(&out.join("model.smg"), &finished.quantized.file)?;
            write_atomically(&out.join("weights.safetensors"), &finished.trained.to_safetensors()?)?;
            write_atomically(
                &out.join("metrics.json"),
                format!("{:#}\n", finished.metrics(recipe)).as_bytes(),
            )?;
            write_atomically(&out.join("report.html"), finished.report(recipe, split)?.as_bytes())?;
            for (index, weights) in finished.trained.ensemble_to_safetensors()?.iter().enumerate() {
                let members = out.join("ensemble");
                make_directory(&members)?;
                write_atomically(&members.join(format!("member-{}.safetensors", index + 1)), weights)?;
            }
        }
        Ok(Some(finished))
    }

    /// Measures the trained network on the test set, by its task.
    fn test(&self, trained: &Trained, quantized: &Quantized) -> Result<TestResult, Box<dyn Error>> {
        let (device, test, threads) = (Device::new(Target::Host), &self.split.test, self.threads);
        if let Some(threshold) = quantized.threshold {
            let normal = normal_classes(&self.split.train);
            let (scores, _) = reconstruct(&device, &quantized.file, test, threads)?;
            let int8 = Scores::of(&scores, test, &normal);
            let float = Scores::of(&float_scores(trained, test, threads)?, test, &normal);
            return Ok(TestResult::Reconstruction { float, decision: int8.decide(threshold), int8 });
        }
        let interface = Interface::of_file(&quantized.file)?;
        if self.recipe.task.kind == TaskKind::Segment {
            let (masks, _) = segment(&device, &quantized.file, test, threads)?;
            let int8 = pixel_confusion(&masks, test);
            let (_, outputs) = float_outputs(trained, test, threads)?;
            let [height, width, _] = test.shape();
            let float: Vec<usize> = pixel_classes(&outputs, height * width * test.len(), 0.0).collect();
            let (float, pictures) = (pixel_confusion(&float, test), worst_masks(&masks, test, MASKS));
            return Ok(TestResult::Masks { float, int8, pictures });
        }
        let inputs = interface.inputs(test)?;
        let run_bytes = interface.input.bytes().unwrap_or(0);
        let report = run_in_parts(&device, &quantized.file, &inputs, run_bytes, threads)?;
        let predictions = interface.predictions(&report.outputs);
        Ok(TestResult::Classes {
            int8: Confusion::of(&predictions, test.labels(), test.class_names().len()),
            ensemble: measure_ensemble(trained, test, threads)?,
            mistakes: worst_mistakes(&interface.real_outputs(&report.outputs), test.labels(), MISTAKES),
        })
    }
}

impl Finished {
    /// What `metrics.json` holds.
    pub(crate) fn metrics(&self, recipe: &Recipe) -> serde_json::Value {
        let Trained { progress, test, weights_hash, .. } = &self.trained;
        let mut metrics = serde_json::json!({
            "float_loss": test.mean_loss(),
            "test_samples": test.samples,
            "seed": recipe.training.seed,
            "epochs": progress.epoch,
            "best_epoch": progress.best_epoch,
            "seconds": progress.seconds,
            "weights_hash": weights_hash,
            "model_bytes": self.quantized.file.len(),
            "history": progress.history,
            "aware": self.trained.aware.as_ref().map(|aware| serde_json::json!({
                "epochs": aware.progress.epoch,
                "best_epoch": aware.progress.best_epoch,
                "seconds": aware.progress.seconds,
                "weights_hash": aware.weights_hash,
                "history": aware.progress.history,
            })),
            "sensitivity": self.sensitivity,
            "targets": self.targets,
        });
        match &self.result {
            TestResult::Classes { int8, ensemble, .. } => {
                metrics["float_accuracy"] = test.accuracy().into();
                metrics["int8_accuracy"] = int8.accuracy().fraction().into();
                metrics["ensemble_accuracy"] = ensemble.map(|ensemble| ensemble.accuracy()).into();
            }
            TestResult::Masks { float, int8, .. } => {
                metrics["float_accuracy"] = float.accuracy().fraction().into();
                metrics["float_mean_iou"] = float.mean_iou().into();
                metrics["int8_accuracy"] = int8.accuracy().fraction().into();
                metrics["int8_ious"] = serde_json::json!(int8.intersections_over_unions());
                metrics["int8_mean_iou"] = int8.mean_iou().into();
            }
            TestResult::Reconstruction { float, int8, decision } => {
                metrics["float_auc"] = float.auc().into();
                metrics["int8_auc"] = int8.auc().into();
                metrics["decision"] = serde_json::json!(decision);
            }
        }
        metrics
    }

    /// The run as a page for a browser.
    fn report(&self, recipe: &Recipe, split: &Split) -> Result<String, Box<dyn Error>> {
        let Trained { progress, test, weights_hash, aware, .. } = &self.trained;
        let Quantized { graph, program, file, .. } = &self.quantized;
        let bytes = AlignedBytes::copy_of(file);
        let inspection = inspect(&smidgen::Model::from_bytes(bytes.as_slice())?);
        let entry = inspection.entries.first().ok_or("the model has no entry")?;
        Ok(report::html(&report::Run {
            recipe,
            progress,
            aware: aware.as_ref().map(|aware| &aware.progress),
            float: test,
            result: match &self.result {
                TestResult::Classes { int8, ensemble, mistakes } => {
                    report::TestResult::Classes { ensemble: ensemble.as_ref(), int8, mistakes }
                }
                TestResult::Reconstruction { float, int8, decision } => {
                    report::TestResult::Reconstruction { float, int8, decision }
                }
                TestResult::Masks { float, int8, pictures } => {
                    report::TestResult::Masks { float, int8, pictures }
                }
            },
            test: &split.test,
            layers: &layer_figures(graph, program, &entry.memory_map),
            sensitivity: &self.sensitivity,
            memory_map: (&entry.memory_map, &program.step_names),
            targets: &self.targets,
            arena_bytes: inspection.memory.arena_bytes as usize,
            model_bytes: file.len(),
            weights_hash,
        }))
    }

    /// The result, for people.
    pub(crate) fn text(&self) -> String {
        let Trained { progress, test, aware, .. } = &self.trained;
        let aware = aware.as_ref().map_or_else(String::new, |aware| {
            format!("trained {} epochs for int8 in {:.1} s\n", aware.progress.epoch, aware.progress.seconds)
        });
        let result = match &self.result {
            TestResult::Classes { int8, ensemble, .. } => {
                let ensemble = ensemble.map_or_else(String::new, |ensemble| {
                    let (count, percent) = (self.trained.ensemble.len(), ensemble.accuracy() * 100.0);
                    format!("ensemble of {count} in f32     {percent:6.2} %\n")
                });
                format!(
                    "test accuracy in f32   {:6.2} %  ({} samples)\n{ensemble}test accuracy in int8  {:6.2} %\n",
                    test.accuracy() * 100.0,
                    test.samples,
                    int8.accuracy().fraction() * 100.0,
                )
            }
            TestResult::Masks { float, int8, .. } => format!(
                "pixels right in f32    {:6.2} %  ({} images)\npixels right in int8   {:6.2} %\n\
                 mean IoU in f32        {:6.2} %\nmean IoU in int8       {:6.2} %\n",
                float.accuracy().fraction() * 100.0,
                test.samples,
                int8.accuracy().fraction() * 100.0,
                float.mean_iou() * 100.0,
                int8.mean_iou() * 100.0,
            ),
            TestResult::Reconstruction { float, int8, decision } => {
                let auc = |name, scores: &Scores| {
                    let auc = scores.auc().map_or_else(|| "-".to_owned(), |auc| format!("{auc:.4}"));
                    format!("area under ROC, {name:<4}   {auc}\n")
                };
                format!("{}{}{}", auc("f32", float), auc("int8", int8), decision_text(decision, 23))
            }
        };
        format!(
            "trained {} epochs in {:.1} s, kept epoch {}\n{aware}{result}model file             {} bytes\n",
            progress.epoch,
            progress.seconds,
            progress.best_epoch,
            grouped(self.quantized.file.len() as u64),
        )
    }
}
