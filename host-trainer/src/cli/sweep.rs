//! `smidgen sweep`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use smidgen_trainer::pipeline::sweep::{Axis, Point, Score, grid, random, rank, score};
use smidgen_trainer::train::files::write_atomically;

use super::table::{Align, Table};
use super::train::{Source, load_data};
use super::{Outcome, print, print_json, stop_on_ctrl_c, threads};

/// Train a recipe with several settings, or on several folds of the data, and rank them by held-out accuracy.
#[derive(Debug, clap::Args)]
pub(crate) struct Sweep {
    #[command(flatten)]
    source: Source,
    /// What to vary: key=a,b,c or, with --samples, key=low..high
    #[arg(long, value_name = "KEY=VALUES")]
    vary: Vec<String>,
    /// Try N combinations at random instead of all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    samples: Option<u32>,
    /// Cross-validate: train each combination N times, with another part of the training samples held out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    folds: Option<u32>,
    /// Seed of the random combinations
    #[arg(long, value_name = "N", default_value_t = 1)]
    sweep_seed: u64,
    /// Write the scores to this JSON file after each combination
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Threads to use; the result does not depend on it [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

impl Sweep {
    pub(crate) fn run(&self) -> Outcome {
        let recipe = self.source.recipe()?;
        let axes = self.vary.iter().map(|text| Axis::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let points: Vec<Point> = match self.samples {
            Some(count) => random(&axes, count, self.sweep_seed),
            None => grid(&axes)?,
        };
        // A wrong key or value shows before the first training.
        for point in &points {
            let mut tried = recipe.clone();
            tried.set_all(point.iter().map(String::as_str))?;
        }
        let split = load_data(&recipe, self.source.data.as_deref())?;
        let (stop, folds) = (stop_on_ctrl_c()?, self.folds.unwrap_or(1));
        let has_accuracy = recipe.task.has_accuracy();
        let save = |scores: &[Score]| match &self.out {
            Some(out) => {
                write_atomically(out, format!("{:#}\n", serde_json::json!({ "scores": scores })).as_bytes())
            }
            None => Ok(()),
        };
        let mut scores: Vec<Score> = Vec::new();
        // Whether it can be written shows before the first training, too.
        save(&scores)?;
        for (index, point) in points.iter().enumerate() {
            let Some(scored) = score(&recipe, point, folds, &split, threads(self.threads), &stop)? else {
                eprintln!("stopped after {index} of {} combinations", points.len());
                return Ok(ExitCode::from(130));
            };
            let result = scored.error.clone().unwrap_or_else(|| shown(&scored, has_accuracy));
            eprintln!("  {}/{}   {}   {result}", index + 1, points.len(), point.join(" "));
            scores.push(scored);
            save(&scores)?;
        }
        rank(&mut scores);
        if self.json {
            return print_json(&serde_json::json!({ "scores": scores }));
        }
        let columns = [("settings", Align::Left), ("held out", Align::Left), ("loss", Align::Right)];
        let mut table = Table::new(columns);
        for scored in &scores {
            let settings = if scored.point.is_empty() { recipe.name.clone() } else { scored.point.join(" ") };
            let result = scored.error.clone().unwrap_or_else(|| shown(scored, has_accuracy));
            table.row([settings, result, format!("{:.4}", scored.loss)]);
        }
        print(&table.to_string())
    }
}

fn shown(score: &Score, has_accuracy: bool) -> String {
    if !has_accuracy {
        return format!("loss {:.4}", score.loss);
    }
    let percent = score.accuracy * 100.0;
    match score.folds.len() {
        1 => format!("{percent:.2} %"),
        folds => format!("{percent:.2} ± {:.2} % over {folds} folds", score.deviation * 100.0),
    }
}
