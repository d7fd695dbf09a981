//! `smidgen doctor`.

use std::num::NonZeroUsize;
use std::process::ExitCode;

use smidgen_trainer::pipeline::doctor::{examine, search_rate};
use smidgen_trainer::train::RateSearch;

use super::table::{Align, Table};
use super::train::{Source, load_data};
use super::{Outcome, print, print_json, threads};

/// Look for what is wrong with a recipe, in seconds: the loss before training, gradients, whether one batch can be learned by heart.
#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    source: Source,
    /// Threads to use; the result does not depend on it [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(crate) fn run(&self) -> Outcome {
        let recipe = self.source.recipe()?;
        let split = load_data(&recipe, self.source.data.as_deref())?;
        let findings = examine(&recipe, &split, threads(self.threads))?;
        let healthy = findings.iter().all(|finding| finding.good);
        if self.json {
            print_json(&serde_json::json!({ "healthy": healthy, "findings": findings }))?;
        } else {
            let mut table = Table::new([("check", Align::Left), ("", Align::Left), ("", Align::Left)]);
            for finding in &findings {
                let state = if finding.good { "good" } else { "BAD" };
                table.row([finding.check.to_owned(), state.to_owned(), finding.detail.clone()]);
            }
            print(&table.to_string())?;
        }
        Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Find a learning rate: train with one that grows, and see where the loss is least.
#[derive(Debug, clap::Args)]
pub(crate) struct FindRate {
    #[command(flatten)]
    source: Source,
    /// The first learning rate
    #[arg(long, value_name = "RATE", default_value_t = 1e-6)]
    from: f32,
    /// The last learning rate
    #[arg(long, value_name = "RATE", default_value_t = 10.0)]
    to: f32,
    /// Steps between the two
    #[arg(long, value_name = "N", default_value_t = 150, value_parser = clap::value_parser!(u32).range(2..))]
    steps: u32,
    /// Threads to use; the result does not depend on it [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

impl FindRate {
    pub(crate) fn run(&self) -> Outcome {
        let Self { from: first, to: last, steps, .. } = *self;
        if !(first > 0.0 && last > first && last.is_finite()) {
            return Err(format!("--from {first} --to {last}: expected 0 < from < to").into());
        }
        let recipe = self.source.recipe()?;
        let split = load_data(&recipe, self.source.data.as_deref())?;
        let search = RateSearch { first, last, steps };
        let (trials, suggestion) = search_rate(&recipe, &split, search, threads(self.threads))?;
        if self.json {
            return print_json(&serde_json::json!({ "learning_rate": suggestion, "trials": trials }));
        }
        let mut table =
            Table::new([("rate", Align::Right), ("loss", Align::Right), ("smoothed", Align::Right)]);
        for trial in trials.iter().step_by(trials.len().div_ceil(25).max(1)) {
            let row =
                [format!("{:.2e}", trial.rate), format!("{:.4}", trial.loss), format!("{:.4}", trial.smooth)];
            table.row(row);
        }
        print(&format!(
            "{table}\na good learning rate: {suggestion:.1e} (a tenth of the one with the least smoothed loss)\n"
        ))
    }
}
