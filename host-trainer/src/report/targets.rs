//! The int8 model on each target.

use serde::Serialize;

use super::grouped;
use crate::compile::{LowerOptions, Packing, Prefer};
use crate::device::{Device, DeviceError, Target};
use crate::pipeline::{PipelineError, Quantized};

/// What a model needs on a target, and what it takes there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TargetFigures {
    /// The target's name.
    pub target: &'static str,
    /// Activations and scratch.
    pub arena_bytes: u32,
    /// Weights and steps, in flash.
    pub model_bytes: usize,
    /// What an emulated core has counted, if it has been asked.
    #[serde(flatten)]
    pub measured: Option<MeasuredFigures>,
}

/// What an emulated core has counted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MeasuredFigures {
    /// Of one inference. They are not cycles.
    pub instructions: u64,
    /// The most stack of an inference.
    pub stack_peak_bytes: u32,
    /// Code and constants of an application, without the model.
    pub code_bytes: usize,
}

/// The figures for every emulated target, each with the weights packed for it. An emulator runs the model on those in `measured`, with `sample` as its input.
///
/// # Errors
/// What compiling gives, and of a target that is measured, what building its image and running it gives.
pub fn target_figures(
    quantized: &Quantized,
    prefer: Prefer,
    measured: &[Target],
    sample: &[u8],
) -> Result<Vec<TargetFigures>, PipelineError> {
    let mut compiled: Vec<(Packing, u32, Vec<u8>)> = Vec::new();
    let mut figures = Vec::new();
    for target in Target::ALL.into_iter().filter(|&target| target != Target::Host) {
        let packing = target.packing();
        if !compiled.iter().any(|(other, ..)| *other == packing) {
            let (program, file) =
                quantized.compiled(&LowerOptions { packing, prefer, ..LowerOptions::default() })?;
            compiled.push((packing, program.memory.arena, file));
        }
        for (_, arena_bytes, file) in compiled.iter().filter(|(other, ..)| *other == packing) {
            let measured = measured.contains(&target).then(|| measure(target, file, sample)).transpose()?;
            let (arena_bytes, model_bytes) = (*arena_bytes, file.len());
            figures.push(TargetFigures { target: target.name(), arena_bytes, model_bytes, measured });
        }
    }
    Ok(figures)
}

fn measure(target: Target, file: &[u8], sample: &[u8]) -> Result<MeasuredFigures, DeviceError> {
    let device = Device::new(target);
    let report = device.measure(file, sample)?;
    Ok(MeasuredFigures {
        instructions: report.instructions.unwrap_or(0),
        stack_peak_bytes: report.stack_peak_bytes.unwrap_or(0),
        code_bytes: device.code_size(file)?.bytes(),
    })
}

/// The table of them; without a measured one it has no columns for what an emulator counts.
pub(super) fn table(figures: &[TargetFigures]) -> String {
    let is_measured = figures.iter().any(|figures| figures.measured.is_some());
    let row = |tag: &str, cells: [String; 7]| {
        let counted = [1, 3, 4, 6];
        let shown = cells.iter().enumerate().filter(|(index, _)| is_measured || !counted.contains(index));
        let cells: String = shown.map(|(_, cell)| format!("<{tag}>{cell}</{tag}>")).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let names = ["target", "instructions", "arena, bytes", "stack", "RAM", "model file", "flash with code"];
    let mut rows = row("th", names.map(str::to_owned));
    for TargetFigures { target, arena_bytes, model_bytes, measured } in figures {
        let number = |number: Option<u64>| number.map(grouped).unwrap_or_default();
        let (arena, model) = (u64::from(*arena_bytes), *model_bytes as u64);
        let stack = measured.map(|found| u64::from(found.stack_peak_bytes));
        rows += &row(
            "td",
            [
                (*target).to_owned(),
                number(measured.map(|found| found.instructions)),
                grouped(arena),
                number(stack),
                number(stack.map(|stack| arena + stack)),
                grouped(model),
                number(measured.map(|found| model + found.code_bytes as u64)),
            ],
        );
    }
    format!(
        "<p>With the weights packed for each target. An emulator counts the instructions and the stack of one run, and the code, on the targets that \
         <code>smidgen train --measure TARGET</code> names.</p>\n<table>\n{rows}</table>\n"
    )
}
