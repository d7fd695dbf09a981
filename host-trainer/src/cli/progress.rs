//! Shows how training goes: a bar on a terminal, a line an epoch everywhere, and an event file for `TensorBoard`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressStyle};
use smidgen_trainer::train::files::write_atomically;
use smidgen_trainer::train::{EpochRecord, EventFile, StepReport, Watch};

/// Losses that the curve on the terminal has room for.
const CURVE: usize = 24;

/// Shows how training goes, on stderr.
#[derive(Debug)]
pub(crate) struct TrainingProgress {
    bar: ProgressBar,
    started: Instant,
    /// Samples trained on since the start.
    samples: u64,
    shown: Instant,
    /// Mean losses of the epochs.
    losses: Vec<f64>,
    /// The last epoch that ended; one that is not behind it is another training's.
    epoch: u32,
    /// Which training it is: quantization-aware training follows the first.
    part: usize,
    events: Option<(PathBuf, EventFile)>,
}

fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

impl TrainingProgress {
    /// A bar of the steps of a run; hidden if stderr is not a terminal. Events are written to `out`, if there is such a directory.
    pub(crate) fn new(out: Option<&Path>) -> Self {
        let bar = ProgressBar::no_length();
        // What is cut off on a narrow terminal is the curve.
        let style = ProgressStyle::with_template("  {prefix} [{bar:14}] {eta} left, {elapsed} gone, {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        bar.set_style(style);
        let (now, wall_time) = (Instant::now(), seconds_since_1970());
        let events = out.map(|out| {
            let name = format!("events.out.tfevents.{}.smidgen", wall_time as u64);
            (out.join(name), EventFile::new(wall_time))
        });
        Self { bar, started: now, samples: 0, shown: now, losses: Vec::new(), epoch: 0, part: 0, events }
    }

    fn rate(&self) -> f64 {
        self.samples as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }

    /// Begins anew when another training does.
    fn follow(&mut self, epoch: u32) {
        if epoch <= self.epoch {
            self.part += 1;
            self.epoch = 0;
            self.losses.clear();
            self.bar.reset();
        }
    }
}

/// A curve of eight heights.
fn curve(values: &[f64]) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let last = &values[values.len().saturating_sub(CURVE)..];
    let low = last.iter().copied().fold(f64::INFINITY, f64::min);
    let high = last.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let height = |value: f64| ((value - low) / (high - low).max(1e-12) * 7.0).round() as usize;
    last.iter().map(|&value| HEIGHTS[height(value).min(7)]).collect()
}

impl Watch for TrainingProgress {
    fn step(&mut self, report: &StepReport) {
        self.samples += report.batch;
        self.follow(report.epoch);
        if self.shown.elapsed() < Duration::from_millis(100) || self.bar.is_hidden() {
            return;
        }
        self.shown = Instant::now();
        self.bar.set_length(u64::from(report.epochs) * report.steps);
        self.bar.set_position(u64::from(report.epoch - 1) * report.steps + report.step);
        self.bar.set_prefix(format!("epoch {}/{}", report.epoch, report.epochs));
        let (loss, accuracy) = (report.losses.mean_loss(), report.losses.accuracy() * 100.0);
        let accuracy = if report.has_accuracy { format!(", {accuracy:.1} % right") } else { String::new() };
        let (rate, curve) = (self.rate(), curve(&self.losses));
        self.bar.set_message(format!("loss {loss:.4}{accuracy}, {rate:.0}/s {curve}"));
    }

    fn note(&mut self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    fn epoch(&mut self, record: &EpochRecord, epochs: u32) {
        self.follow(record.epoch);
        self.epoch = record.epoch;
        self.losses.push(record.train_loss);
        if let Some((path, events)) = &mut self.events {
            events.epoch(seconds_since_1970(), if self.part == 0 { "" } else { "int8 " }, record);
            // The run goes on without them.
            if let Err(error) = write_atomically(path, events.bytes()) {
                self.bar.suspend(|| eprintln!("{error}"));
                self.events = None;
            }
        }
        let accuracy = |accuracy: Option<f64>| {
            accuracy.map_or_else(String::new, |accuracy| format!(", {:6.2} % right", accuracy * 100.0))
        };
        let held_out = record.validation_loss.map_or_else(String::new, |loss| {
            format!("; held out {loss:.4}{}", accuracy(record.validation_accuracy))
        });
        let line = format!(
            "  epoch {:3}/{epochs}  loss {:.4}{}{held_out}; {:.0}/s",
            record.epoch,
            record.train_loss,
            accuracy(record.train_accuracy),
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

#[cfg(test)]
mod tests {
    use super::curve;

    #[test]
    fn the_curve_goes_from_the_lowest_to_the_highest() {
        assert_eq!(curve(&[2.0, 1.0, 0.0]), "█▅▁");
        assert_eq!(curve(&[]), "");
        assert_eq!(curve(&[1.0]), "▁");
        assert_eq!(curve(&vec![1.0; 100]).chars().count(), 24);
    }
}
