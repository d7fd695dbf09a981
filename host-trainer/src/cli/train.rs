//! `smidgen train`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use smidgen_trainer::data::{self, Split};
use smidgen_trainer::device::{Device, Target};
use smidgen_trainer::evaluate::{Accuracy, quantized_inputs};
use smidgen_trainer::pipeline::{Quantized, Run, Trained, Training, quantize_trained, train};
use smidgen_trainer::recipe::Recipe;
use smidgen_trainer::train::files::{make_directory, write_atomically};

use super::progress::TrainingProgress;
use super::{Outcome, stop_on_ctrl_c, threads};

/// Train and quantize a network as a recipe says.
#[derive(Debug, clap::Args)]
pub(crate) struct Train {
    /// A built-in recipe (digits, mnist) or a TOML file
    recipe: String,
    /// Directory of the data, for recipes whose data are not bundled
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to write model.smg, weights.safetensors, metrics.json and the checkpoint [default: runs/NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Passes over the training samples
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,
    /// Threads to use; the result does not depend on it [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Seed of the weights, the order of the samples and the augmentation
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Change a value of the recipe, for example `--set schedule.learning_rate=0.01`
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Go on from the checkpoint in the output directory, if there is one
    #[arg(long)]
    resume: bool,
    /// Print the metrics as one JSON object on stdout
    #[arg(long)]
    json: bool,
}

impl Train {
    pub(crate) fn run(&self) -> Outcome {
        let mut recipe = Recipe::load(&self.recipe)?;
        for assignment in &self.set {
            recipe.set(assignment)?;
        }
        for (key, value) in [("epochs", self.epochs.map(u64::from)), ("seed", self.seed)] {
            if let Some(value) = value {
                recipe.set(&format!("training.{key}={value}"))?;
            }
        }
        let out = self.out.clone().unwrap_or_else(|| Path::new("runs").join(&recipe.name));
        make_directory(&out)?;
        write_atomically(&out.join("recipe.toml"), recipe.to_toml().as_bytes())?;
        let split = load_data(&recipe, self.data.as_deref())?;
        let stop = stop_on_ctrl_c()?;
        let threads = threads(self.threads);
        let job = Job { recipe: &recipe, split: &split, out: Some(&out), threads, resume: self.resume };
        let Some(finished) = job.run(&stop)? else {
            eprintln!("stopped; go on with: smidgen train {} --resume (and the same options)", self.recipe);
            return Ok(ExitCode::from(130));
        };
        let metrics = finished.metrics(&recipe);
        if self.json {
            println!("{metrics}");
        } else {
            finished.print();
            println!("wrote {}", out.join("model.smg").display());
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The data that a recipe names.
pub(crate) fn load_data(recipe: &Recipe, directory: Option<&Path>) -> Result<Split, Box<dyn Error>> {
    match (recipe.data.dataset.as_str(), directory) {
        ("digits", None) => Ok(data::digits()?),
        ("digits" | "mnist", Some(directory)) => Ok(data::load_mnist_dir(directory)?),
        ("mnist", None) => Err(
            "the recipe's data.dataset is mnist, which is not bundled: give its directory with --data DIR"
                .into(),
        ),
        (other, _) => Err(format!("data.dataset is {other:?}, expected digits or mnist").into()),
    }
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
}

/// A finished run.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) trained: Trained,
    pub(crate) quantized: Quantized,
    pub(crate) int8: Accuracy,
}

impl Job<'_> {
    /// Trains; nothing if it was stopped.
    pub(crate) fn run(&self, stop: &AtomicBool) -> Result<Option<Finished>, Box<dyn Error>> {
        let Self { recipe, split, out, threads, resume } = *self;
        eprintln!(
            "training {} ({}) on {} images, {} epochs, {} threads, {:?} kernels",
            recipe.name,
            recipe.network_name(),
            split.train.len(),
            recipe.training.epochs,
            threads,
            smidgen::kernels::isa::current(),
        );
        let checkpoint = out.map(|out| out.join("checkpoint.safetensors"));
        let run = Run { recipe, split, threads, checkpoint: checkpoint.as_deref(), resume, stop };
        let trained = match train(&run, &mut TrainingProgress::new())? {
            Training::Stopped(_) => return Ok(None),
            Training::Done(trained) => *trained,
        };
        let quantized = quantize_trained(recipe, split, &trained)?;
        let inputs = quantized_inputs(&quantized.file, &split.test)?;
        let report = Device::new(Target::Host).run(&quantized.file, &inputs)?;
        let int8 = Accuracy::of(&report.outputs, split.test.labels());
        let finished = Finished { trained, quantized, int8 };
        if let Some(out) = out {
            write_atomically(&out.join("model.smg"), &finished.quantized.file)?;
            write_atomically(&out.join("weights.safetensors"), &finished.trained.to_safetensors()?)?;
            write_atomically(
                &out.join("metrics.json"),
                format!("{:#}\n", finished.metrics(recipe)).as_bytes(),
            )?;
        }
        Ok(Some(finished))
    }
}

impl Finished {
    /// What `metrics.json` holds.
    pub(crate) fn metrics(&self, recipe: &Recipe) -> serde_json::Value {
        let Trained { progress, test, weights_hash, .. } = &self.trained;
        serde_json::json!({
            "float_accuracy": test.accuracy(),
            "float_loss": test.mean_loss(),
            "int8_accuracy": self.int8.fraction(),
            "test_samples": self.int8.samples,
            "seed": recipe.training.seed,
            "epochs": progress.epoch,
            "best_epoch": progress.best_epoch,
            "seconds": progress.seconds,
            "weights_hash": weights_hash,
            "model_bytes": self.quantized.file.len(),
            "history": progress.history,
        })
    }

    /// Prints the result.
    pub(crate) fn print(&self) {
        let Trained { progress, test, .. } = &self.trained;
        println!(
            "trained {} epochs in {:.1} s, kept epoch {}",
            progress.epoch, progress.seconds, progress.best_epoch
        );
        println!("test accuracy in f32   {:6.2} %  ({} images)", test.accuracy() * 100.0, test.samples);
        println!("test accuracy in int8  {:6.2} %", self.int8.fraction() * 100.0);
        println!("model file             {} bytes", self.quantized.file.len());
    }
}
