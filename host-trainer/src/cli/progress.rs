//! Shows how training goes: a bar on a terminal, and a line an epoch everywhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use smidgen_trainer::train::{EpochRecord, StepReport, Watch};

/// Shows how training goes, on stderr.
#[derive(Debug)]
pub(crate) struct TrainingProgress {
    bar: ProgressBar,
    started: Instant,
    /// Samples trained on since the start.
    samples: u64,
    shown: Instant,
}

impl TrainingProgress {
    /// A bar of the steps of a run; hidden if stderr is not a terminal.
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::no_length();
        let style = ProgressStyle::with_template("  {prefix} [{bar:30}] {msg}, {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        bar.set_style(style);
        let now = Instant::now();
        Self { bar, started: now, samples: 0, shown: now }
    }

    fn rate(&self) -> f64 {
        self.samples as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }
}

impl Watch for TrainingProgress {
    fn step(&mut self, report: &StepReport) {
        self.samples += report.batch;
        if self.shown.elapsed() < Duration::from_millis(100) || self.bar.is_hidden() {
            return;
        }
        self.shown = Instant::now();
        self.bar.set_length(u64::from(report.epochs) * report.steps);
        self.bar.set_position(u64::from(report.epoch - 1) * report.steps + report.step);
        self.bar.set_prefix(format!("epoch {}/{}", report.epoch, report.epochs));
        let (loss, rate) = (report.losses.mean_loss(), self.rate());
        self.bar.set_message(format!("loss {loss:.4}, {rate:.0} samples/s"));
    }

    fn note(&mut self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    fn epoch(&mut self, record: &EpochRecord, epochs: u32) {
        let held_out = match (record.validation_loss, record.validation_accuracy) {
            (Some(loss), Some(accuracy)) => {
                format!("   held out: loss {loss:.4} accuracy {:6.2} %", accuracy * 100.0)
            }
            _ => String::new(),
        };
        let line = format!(
            "  epoch {:3}/{epochs}   training: loss {:.4} accuracy {:6.2} %{held_out}   {:.0} samples/s",
            record.epoch,
            record.train_loss,
            record.train_accuracy * 100.0,
            self.rate(),
        );
        self.bar.suspend(|| eprintln!("{line}"));
    }
}

impl Drop for TrainingProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
