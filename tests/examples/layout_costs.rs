//! What layers cost in each layout, see `docs/layout-costs.md`.
//!
//! - `layout_costs` measures, fits, and writes `host-trainer/src/compile/pack_weights/costs.toml`; with names of packings only their parts of it.
//! - `layout_costs --errors [FILE.tflite…]` says how far the committed table is from counts: of the layers that it was made from, and of those of each file.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use smidgen_trainer::compile::{Costs, Packing};
use smidgen_trainer::layout_costs::{Sample, code, examples, fit, measure, measure_model};
use smidgen_trainer::tflite::convert_packed;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.split_first() {
        Some((first, files)) if first == "--errors" => errors(files),
        _ => write(&arguments),
    }
}

/// Writes the table, of the packings that are not named as it was.
fn write(names: &[String]) -> Result<(), Box<dyn Error>> {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../host-trainer/src/compile/pack_weights/costs.toml");
    let mut text = "# Measured in QEMU and written by `cargo run --release -p smidgen-tests --example layout_costs`; docs/layout-costs.md says what the numbers are.\n".to_owned();
    for packing in Packing::ALL {
        let kept = Costs::of(packing)
            .filter(|_| !names.is_empty() && !names.iter().any(|name| name == packing.name()));
        let costs = match kept {
            Some(costs) => costs.clone(),
            None => {
                let samples = measure(packing, &examples())?;
                let costs = Costs { instructions: fit(&samples), code: code(packing)? };
                summary(packing, "what it was fitted to", &samples, &costs);
                costs
            }
        };
        text += "\n";
        text += &costs.to_toml(packing);
    }
    fs::write(path, text)?;
    Ok(())
}

fn errors(files: &[String]) -> Result<(), Box<dyn Error>> {
    for packing in Packing::ALL {
        let Some(costs) = Costs::of(packing) else { continue };
        let samples = measure(packing, &examples())?;
        summary(packing, "what it was fitted to", &samples, costs);
        if env::var_os("SMIDGEN_EACH").is_some() {
            for sample in &samples {
                each(sample, costs);
            }
        }
        for file in files {
            let model = convert_packed(&fs::read(file)?, "network", None, packing)?.file;
            let samples = measure_model(packing, &model)?;
            summary(packing, file, &samples, costs);
        }
    }
    Ok(())
}

fn each(sample: &Sample, costs: &Costs) {
    let predicted = sample.predicted(costs).unwrap_or(0.0);
    let error = predicted / sample.instructions - 1.0;
    println!(
        "  {:34} {:34} {:9.0} {predicted:9.0} {:+6.1} %",
        sample.operator.name(),
        sample.name,
        sample.instructions,
        100.0 * error
    );
}

/// For each layout and for all, how many layers there were, and by how much the prediction was wrong: of one layer in the mean and at most, and of all together.
fn summary(packing: Packing, of: &str, samples: &[Sample], costs: &Costs) {
    println!("{}, {of}:", packing.name());
    let mut operators: Vec<_> = samples.iter().map(|sample| sample.operator).collect();
    operators.sort_by_key(|&operator| operator as u8);
    operators.dedup();
    for operator in operators {
        let samples: Vec<&Sample> = samples.iter().filter(|sample| sample.operator == operator).collect();
        line(operator.name(), &samples, costs);
    }
    line("all", &samples.iter().collect::<Vec<_>>(), costs);
}

fn line(name: &str, samples: &[&Sample], costs: &Costs) {
    let predicted = |sample: &&Sample| sample.predicted(costs).unwrap_or(0.0);
    let error = |sample: &&Sample| (predicted(sample) / sample.instructions - 1.0).abs();
    let mean = samples.iter().map(error).sum::<f64>() / samples.len() as f64;
    let most = samples.iter().map(error).fold(0.0, f64::max);
    let all = samples.iter().map(predicted).sum::<f64>()
        / samples.iter().map(|sample| sample.instructions).sum::<f64>();
    println!(
        "  {name:32} {:3} layers, error {:5.1} % in the mean, {:5.1} % at most, {:+5.1} % of all",
        samples.len(),
        100.0 * mean,
        100.0 * most,
        100.0 * (all - 1.0)
    );
}
