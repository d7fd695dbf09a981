//! `smidgen demo`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use smidgen_trainer::compile::LowerOptions;
use smidgen_trainer::data;
use smidgen_trainer::device::{self, Device, Target};
use smidgen_trainer::evaluate::{Confusion, Interface};
use smidgen_trainer::recipe::Recipe;
use smidgen_trainer::train::files::make_directory;

use super::table::grouped;
use super::train::Job;
use super::{Outcome, print, stop_on_ctrl_c, threads};

/// Train on the bundled handwritten digits, quantize, run all test images on an emulated Cortex-M4, compare every byte.
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Where to write the model
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    out: PathBuf,
    /// Passes over the training images [default: as the recipe `digits` says]
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,
    /// Threads to use; the result does not depend on it [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// The emulated core
    #[arg(long, value_name = "TARGET", default_value = "cortex-m4")]
    on: Target,
}

impl Demo {
    pub(crate) fn run(&self) -> Outcome {
        // Before minutes of training, not after.
        device::check(self.on)?;
        let mut recipe = Recipe::load("digits")?;
        if let Some(epochs) = self.epochs {
            recipe.set(&format!("training.epochs={epochs}"))?;
        }
        make_directory(&self.out)?;
        let split = data::digits()?;
        let stop = stop_on_ctrl_c()?;
        let threads = threads(self.threads);
        let job = Job {
            measured: &[],
            recipe: &recipe,
            split: &split,
            out: Some(&self.out),
            threads,
            resume: false,
            lower: LowerOptions::default(),
        };
        let Some(finished) = job.run(&stop)? else { return Ok(ExitCode::from(130)) };
        print(&finished.text())?;
        self.compare(&finished.quantized.file, &split.test)
    }

    /// Runs every test image here and on the emulated core, and compares the bytes.
    fn compare(&self, file: &[u8], test: &data::Dataset) -> Outcome {
        let interface = Interface::of_file(file)?;
        let inputs = interface.inputs(test)?;
        eprintln!("running {} test images on an emulated {}", test.len(), self.on);
        let here = Device::new(Target::Host).run(file, &inputs)?;
        let device = Device::new(self.on);
        let there = device.run(file, &inputs)?;
        let code = device.code_size(file)?;
        let row = (here.outputs.len() / test.len()).max(1);
        let rows = |outputs: &[u8]| outputs.chunks_exact(row).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let equal = rows(&here.outputs).iter().zip(rows(&there.outputs)).filter(|(a, b)| *a == b).count();
        let predictions = interface.predictions(&there.outputs);
        let accuracy = Confusion::of(&predictions, test.labels(), test.class_names().len()).accuracy();
        let (arena, stack) = (there.arena_bytes.into(), there.stack_peak_bytes.unwrap_or(0).into());
        let (arena, stack) = (grouped(arena), grouped(stack));
        print(&format!(
            "\non an emulated {} (QEMU):\n\
             outputs equal to the host's    {equal} of {}, byte for byte\n\
             test accuracy                  {:.2} %\n\
             instructions per inference     {}\n\
             RAM                            {arena} bytes of arena, {stack} bytes of stack\n\
             flash                          {} bytes of model, {} bytes of code\n\
             model file                     {}\n",
            self.on,
            test.len(),
            accuracy.fraction() * 100.0,
            grouped(there.instructions.unwrap_or(0)),
            grouped(file.len() as u64),
            grouped(code.bytes() as u64),
            self.out.join("model.smg").display(),
        ))?;
        if equal == test.len() {
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(step) = here.first_difference(&there) {
            eprintln!("the first step that differs is step {} of sample {}", step.index, step.round);
        }
        Err(format!(
            "{} of {} outputs differ between {} and the host",
            test.len() - equal,
            test.len(),
            self.on
        )
        .into())
    }
}
