//! The loop: epochs of shuffled batches, validation, the best weights, and where to go on after a stop.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::average::{Averager, RunningTensor};
use super::checkpoint::{Checkpoint, CheckpointError, EpochRecord, Progress, Snapshot};
use super::executor::{Driver, ExecutorError, LossSum, Pass};
use super::files::make_directory;
use crate::data::{Sampler, epoch_order};
use crate::recipe::Recipe;

/// Why training ended without a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// The program could not be run.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// A checkpoint could not be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// There are fewer samples than one batch has.
    #[error(
        "the training set has {found} samples besides the held-out ones, fewer than one batch of {batch}; lower training.batch or \
         data.validation_fraction"
    )]
    TooFewSamples {
        /// Samples there are.
        found: usize,
        /// Samples in a batch.
        batch: usize,
    },
    /// The loss is not a finite number.
    #[error(
        "the loss became {loss} at step {step} of epoch {epoch}; lower schedule.learning_rate{}",
        kept(checkpoint.as_deref())
    )]
    NonFiniteLoss {
        /// The epoch, counted from 1.
        epoch: u32,
        /// The step in the epoch, counted from 1.
        step: u64,
        /// The loss.
        loss: f64,
        /// The last checkpoint, from before.
        checkpoint: Option<PathBuf>,
    },
    /// The loss is far above what it began with.
    #[error(
        "the mean loss of epoch {epoch} is {loss:.3}, it began with {first:.3}: training diverges; lower schedule.learning_rate, or set \
         optimizer.clip_norm{}",
        kept(checkpoint.as_deref())
    )]
    Diverged {
        /// The epoch, counted from 1.
        epoch: u32,
        /// Its mean loss.
        loss: f64,
        /// The mean loss of the first step.
        first: f64,
        /// The last checkpoint, from before.
        checkpoint: Option<PathBuf>,
    },
    /// The checkpoint was made with another recipe.
    #[error("{}: it was made with another recipe (line {line}: `{found}`, now `{expected}`); resume with that one, or start without --resume", path.display())]
    OtherRecipe {
        /// The checkpoint.
        path: PathBuf,
        /// The first line that differs.
        line: usize,
        /// The line in the checkpoint.
        found: String,
        /// The line in the present recipe.
        expected: String,
    },
}

fn kept(checkpoint: Option<&Path>) -> String {
    checkpoint.map_or_else(String::new, |path| format!(" (the last good state is in {})", path.display()))
}

/// A step that was done.
#[derive(Clone, Copy, Debug)]
pub struct StepReport {
    /// The epoch, counted from 1.
    pub epoch: u32,
    /// Epochs in all.
    pub epochs: u32,
    /// The step in the epoch, counted from 1.
    pub step: u64,
    /// Steps in an epoch.
    pub steps: u64,
    /// Samples in a step.
    pub batch: u64,
    /// The losses of the epoch so far.
    pub losses: LossSum,
    /// Whether the task has an accuracy.
    pub has_accuracy: bool,
}

/// Watches the training.
pub trait Watch {
    /// After each step.
    fn step(&mut self, report: &StepReport) {
        let _ = report;
    }

    /// What whoever watches should know.
    fn note(&mut self, text: &str) {
        let _ = text;
    }

    /// After each epoch, `epochs` in all.
    fn epoch(&mut self, record: &EpochRecord, epochs: u32) {
        let _ = (record, epochs);
    }
}

impl Watch for () {}

/// What there is to know of a run besides its recipe.
#[derive(Clone, Copy, Debug)]
pub struct Fit<'a> {
    /// The recipe.
    pub recipe: &'a Recipe,
    /// The classes of the training set's samples.
    pub labels: &'a [u32],
    /// The running statistics of the program's batch norms, for averages of weights.
    pub running: &'a [RunningTensor],
    /// Where to keep checkpoints; nowhere without it.
    pub checkpoint: Option<&'a Path>,
    /// Go on from the checkpoint, if there is one.
    pub resume: bool,
    /// Stops the training after the present step when it becomes true.
    pub stop: &'a AtomicBool,
}

/// How training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All epochs are done.
    Complete,
    /// The validation accuracy did not rise any more.
    Early,
    /// It was asked to stop, and can be resumed.
    Stopped,
}

/// What training left, besides what is in the executor.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// How it went.
    pub progress: Progress,
    /// How it ended.
    pub ending: Ending,
    /// The networks that make an ensemble, the oldest first.
    pub snapshots: Vec<Snapshot>,
}

/// Trains, and leaves the best parameters in the executor.
///
/// # Errors
/// See [`FitError`].
pub fn fit(plan: &Fit<'_>, driver: &mut Driver<'_, '_>, watch: &mut dyn Watch) -> Result<Fitted, FitError> {
    Loop::new(plan, driver)?.run(driver, watch)
}

/// The samples held out of the training set, and the others: both ascending, chosen by the seed alone.
pub fn hold_out(seed: u64, samples: usize, fraction: f64) -> (Vec<u32>, Vec<u32>) {
    let mut order = vec![0; samples];
    // No epoch has this number, so no epoch's order is used twice.
    epoch_order(seed, u32::MAX, &mut order);
    let mut train = order.split_off((samples as f64 * fraction) as usize);
    let mut validation = order;
    train.sort_unstable();
    validation.sort_unstable();
    (train, validation)
}

/// The samples held out as the recipe says, by a fraction or as one of several parts, after the samples to train on.
pub fn held_out(recipe: &Recipe, samples: usize) -> (Vec<u32>, Vec<u32>) {
    let Recipe { data, training, .. } = recipe;
    if data.folds == 0 {
        return hold_out(training.seed, samples, data.validation_fraction);
    }
    let mut order = vec![0; samples];
    epoch_order(training.seed, u32::MAX, &mut order);
    let end = |fold: u32| (samples as u64 * u64::from(fold) / u64::from(data.folds)) as usize;
    let mut validation = order[end(data.fold)..end(data.fold + 1)].to_vec();
    let mut train = [&order[..end(data.fold)], &order[end(data.fold + 1)..]].concat();
    train.sort_unstable();
    validation.sort_unstable();
    (train, validation)
}

struct Loop<'a> {
    plan: Fit<'a>,
    sampler: Sampler,
    validation: Vec<u32>,
    order: Vec<u32>,
    /// The samples of one batch.
    batch: Vec<u32>,
    steps: u64,
    progress: Progress,
    best: Snapshot,
    /// As many as the progress names.
    snapshots: Vec<Snapshot>,
    averager: Option<Averager>,
    /// Seconds spent before this process.
    seconds_before: f64,
    started: Instant,
    /// When the last checkpoint was written or read.
    saved: Option<Instant>,
}

/// The least time between the checkpoints of two epochs: until one is on the disk takes longer than an epoch of a small data set.
const BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(10);

impl<'a> Loop<'a> {
    fn new(plan: &Fit<'a>, driver: &Driver<'_, '_>) -> Result<Self, FitError> {
        let Recipe { data, averaging, .. } = plan.recipe;
        let (train, validation) = held_out(plan.recipe, plan.labels.len());
        let batch = driver.executor().batch_samples();
        if train.len() < batch {
            return Err(FitError::TooFewSamples { found: train.len(), batch });
        }
        let sampler = Sampler::new(data.sampling, train, plan.labels);
        let executor = driver.executor();
        let mut fitting = Self {
            plan: *plan,
            steps: (sampler.epoch_len() / batch) as u64,
            order: vec![0; sampler.epoch_len()],
            sampler,
            validation,
            batch: Vec::with_capacity(batch),
            progress: Progress::default(),
            best: executor.snapshot(),
            snapshots: Vec::new(),
            averager: Averager::new(averaging, plan.running, executor),
            seconds_before: 0.0,
            started: Instant::now(),
            saved: None,
        };
        if let (true, Some(path)) = (plan.resume, plan.checkpoint)
            && path.exists()
        {
            let checkpoint = Checkpoint::load(path)?;
            same_recipe(&checkpoint.recipe, &plan.recipe.to_toml(), path)?;
            driver.executor().restore(&checkpoint.present)?;
            fitting.progress = checkpoint.progress;
            for &epoch in &fitting.progress.snapshots {
                fitting.snapshots.push(Checkpoint::load(&snapshot_path(path, epoch))?.present);
            }
            fitting.best = checkpoint.best;
            if let (Some(averager), Some(average)) = (&mut fitting.averager, checkpoint.average) {
                averager.average = average;
                averager.count = fitting.progress.averaged;
            }
            fitting.seconds_before = fitting.progress.seconds;
            fitting.saved = Some(Instant::now());
        }
        Ok(fitting)
    }

    fn run(mut self, driver: &mut Driver<'_, '_>, watch: &mut dyn Watch) -> Result<Fitted, FitError> {
        let epochs = self.plan.recipe.training.epochs;
        let patience = self.plan.recipe.training.early_stopping;
        let early = |progress: &Progress| patience > 0 && progress.without_gain >= patience;
        while self.progress.epoch < epochs && !early(&self.progress) {
            if !self.epoch(driver, watch)? {
                self.save(driver)?;
                return Ok(self.end(Ending::Stopped));
            }
            self.end_epoch(driver, watch)?;
            let ends = self.progress.epoch >= epochs || early(&self.progress);
            if ends || self.saved.is_none_or(|last| last.elapsed() >= BETWEEN_CHECKPOINTS) {
                self.save(driver)?;
            }
        }
        let complete = self.progress.epoch >= epochs;
        driver.executor().restore(&self.best)?;
        Ok(self.end(if complete { Ending::Complete } else { Ending::Early }))
    }

    fn end(self, ending: Ending) -> Fitted {
        Fitted { progress: self.progress, ending, snapshots: self.snapshots }
    }

    /// The rest of the present epoch; false if it was asked to stop.
    fn epoch(&mut self, driver: &mut Driver<'_, '_>, watch: &mut dyn Watch) -> Result<bool, FitError> {
        let Recipe { training, schedule, .. } = self.plan.recipe;
        let (epoch, size) = (self.progress.epoch, self.batch.capacity());
        self.sampler.fill(training.seed, epoch, &mut self.order);
        while self.progress.step < self.steps {
            if self.plan.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let step = self.progress.step;
            self.batch.clear();
            self.batch.extend_from_slice(&self.order[step as usize * size..][..size]);
            let done = u64::from(epoch) * self.steps + step;
            let all = u64::from(training.epochs) * self.steps;
            let rate = schedule.learning_rate(done, all, self.steps);
            let losses = driver.train(epoch, &self.batch, rate)?;
            if !losses.loss.is_finite() {
                let checkpoint = self.last_checkpoint();
                let (epoch, step, loss) = (epoch + 1, step + 1, losses.mean_loss());
                return Err(FitError::NonFiniteLoss { epoch, step, loss, checkpoint });
            }
            if done == 0 {
                self.progress.first_loss = losses.mean_loss();
            }
            if let Some(averager) = &mut self.averager {
                averager.step(driver.executor());
                self.progress.averaged = averager.count;
            }
            let mut sum = self.progress.losses();
            sum.add(losses);
            self.progress.set_losses(sum);
            self.progress.step += 1;
            watch.step(&StepReport {
                epoch: epoch + 1,
                epochs: training.epochs,
                step: self.progress.step,
                steps: self.steps,
                batch: size as u64,
                losses: sum,
                has_accuracy: self.plan.recipe.task.has_accuracy(),
            });
        }
        Ok(true)
    }

    fn end_epoch(&mut self, driver: &mut Driver<'_, '_>, watch: &mut dyn Watch) -> Result<(), FitError> {
        let Recipe { training, schedule, .. } = self.plan.recipe;
        let losses = self.progress.losses();
        self.diverges(losses.mean_loss())?;
        // From here to its end the average is in the place of the present weights.
        let present = match &mut self.averager {
            None => None,
            Some(averager) => {
                averager.epoch(self.progress.epoch, driver, &self.order)?;
                self.progress.averaged = averager.count;
                let present = driver.executor().snapshot();
                driver.executor().restore(&averager.average)?;
                Some(present)
            }
        };
        let validation = match self.validation.as_slice() {
            [] => None,
            samples => Some(driver.evaluate(Pass::Validate, samples)?),
        };
        let counts = self.plan.recipe.task.has_accuracy();
        let progress = &mut self.progress;
        let all = u64::from(training.epochs) * self.steps;
        let last = u64::from(progress.epoch + 1) * self.steps - 1;
        let record = EpochRecord {
            epoch: progress.epoch + 1,
            learning_rate: schedule.learning_rate(last, all, self.steps),
            train_loss: losses.mean_loss(),
            train_accuracy: counts.then(|| losses.accuracy()),
            validation_loss: validation.map(|sum| sum.mean_loss()),
            validation_accuracy: validation.filter(|_| counts).map(|sum| sum.accuracy()),
        };
        progress.history.push(record);
        progress.epoch += 1;
        progress.step = 0;
        progress.set_losses(LossSum::default());
        progress.without_gain += 1;
        if is_best(&progress.history) {
            progress.best_epoch = progress.epoch;
            progress.without_gain = 0;
            self.best = driver.executor().snapshot();
        }
        self.keep_best(driver)?;
        self.keep_snapshot(driver)?;
        if let Some(present) = present {
            driver.executor().restore(&present)?;
        }
        watch.epoch(&record, training.epochs);
        Ok(())
    }

    /// Where a checkpoint is, if one was written or read.
    fn last_checkpoint(&self) -> Option<PathBuf> {
        self.plan.checkpoint.filter(|_| self.saved.is_some()).map(Path::to_path_buf)
    }

    /// Whether the mean loss of an epoch is four times what training began with, and not small.
    fn diverges(&self, loss: f64) -> Result<(), FitError> {
        let first = self.progress.first_loss;
        if first == 0.0 || loss <= 4.0 * first.max(1.0) {
            return Ok(());
        }
        let checkpoint = self.last_checkpoint();
        Err(FitError::Diverged { epoch: self.progress.epoch + 1, loss, first, checkpoint })
    }

    /// Writes the weights of the epoch that just ended if it is one of the best, and removes those of the one that is not any more.
    fn keep_best(&self, driver: &Driver<'_, '_>) -> Result<(), FitError> {
        let keep = self.plan.recipe.training.best_checkpoints as usize;
        let (Some(checkpoint), true) = (self.plan.checkpoint, keep > 0) else { return Ok(()) };
        let mut ranking: Vec<&EpochRecord> = self.progress.history.iter().collect();
        // As `is_as_good_as` has it, and the later one of equal ones.
        ranking.sort_by(|a, b| {
            let numbers = |record: &EpochRecord| {
                let loss = record.validation_loss.unwrap_or_default();
                (record.validation_accuracy.unwrap_or_default(), -loss)
            };
            let ((accuracy_a, loss_a), (accuracy_b, loss_b)) = (numbers(a), numbers(b));
            let order = accuracy_b.total_cmp(&accuracy_a).then(loss_b.total_cmp(&loss_a));
            order.then(b.epoch.cmp(&a.epoch))
        });
        let directory = checkpoint.with_file_name("best");
        let path = |epoch: u32| directory.join(format!("epoch-{epoch:04}.safetensors"));
        if !ranking.iter().take(keep).any(|record| record.epoch == self.progress.epoch) {
            return Ok(());
        }
        make_directory(&directory).map_err(CheckpointError::from)?;
        self.checkpoint_of(&driver.executor().snapshot()).save(&path(self.progress.epoch))?;
        for record in ranking.iter().skip(keep) {
            // Most of them are gone already.
            let _ = std::fs::remove_file(path(record.epoch));
        }
        Ok(())
    }

    /// Keeps the network at the end of a cycle, and lets the oldest go if there are too many.
    fn keep_snapshot(&mut self, driver: &Driver<'_, '_>) -> Result<(), FitError> {
        let Recipe { training, schedule, .. } = self.plan.recipe;
        let epoch = self.progress.epoch;
        if training.snapshots == 0 || !schedule.ends_cycle(epoch - 1, training.epochs) {
            return Ok(());
        }
        let present = driver.executor().snapshot();
        if let Some(checkpoint) = self.plan.checkpoint {
            let path = snapshot_path(checkpoint, epoch);
            make_directory(path.parent().unwrap_or(checkpoint)).map_err(CheckpointError::from)?;
            self.checkpoint_of(&present).save(&path)?;
        }
        self.snapshots.push(present);
        self.progress.snapshots.push(epoch);
        // What is left over here is not named by the checkpoint that follows.
        while self.snapshots.len() > training.snapshots as usize {
            self.snapshots.remove(0);
            self.progress.snapshots.remove(0);
        }
        Ok(())
    }

    /// A checkpoint of one network alone.
    fn checkpoint_of(&self, present: &Snapshot) -> Checkpoint {
        Checkpoint {
            recipe: self.plan.recipe.to_toml(),
            progress: self.progress.clone(),
            best: present.clone(),
            present: present.clone(),
            average: None,
        }
    }

    fn save(&mut self, driver: &Driver<'_, '_>) -> Result<(), FitError> {
        self.progress.seconds = self.seconds_before + self.started.elapsed().as_secs_f64();
        let Some(path) = self.plan.checkpoint else { return Ok(()) };
        let checkpoint = Checkpoint {
            recipe: self.plan.recipe.to_toml(),
            progress: self.progress.clone(),
            present: driver.executor().snapshot(),
            best: self.best.clone(),
            average: self.averager.as_ref().map(|averager| averager.average.clone()),
        };
        checkpoint.save(path)?;
        self.saved = Some(Instant::now());
        Ok(())
    }
}

/// Where the network at the end of a cycle is kept, beside the checkpoint.
fn snapshot_path(checkpoint: &Path, epoch: u32) -> PathBuf {
    checkpoint.with_file_name("snapshots").join(format!("epoch-{epoch:04}.safetensors"))
}

/// Whether the last epoch is the best: the most accurate on held-out samples, then the one with the smaller loss there; of equal ones the
/// later. Without held-out samples it always is.
fn is_best(history: &[EpochRecord]) -> bool {
    let Some((last, before)) = history.split_last() else { return false };
    before.iter().all(|other| last.is_as_good_as(other))
}

fn same_recipe(found: &str, expected: &str, path: &Path) -> Result<(), FitError> {
    let mut lines = found.lines().chain([""]).zip(expected.lines().chain([""])).enumerate();
    match lines.find(|(_, (found, expected))| found != expected) {
        None => Ok(()),
        Some((line, (found, expected))) => Err(FitError::OtherRecipe {
            path: path.into(),
            line: line + 1,
            found: found.into(),
            expected: expected.into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(accuracy: f64, loss: f64) -> EpochRecord {
        EpochRecord {
            epoch: 1,
            learning_rate: 0.1,
            train_loss: 0.0,
            train_accuracy: Some(0.0),
            validation_loss: Some(loss),
            validation_accuracy: Some(accuracy),
        }
    }

    #[test]
    fn held_out_samples_are_not_trained_on() {
        let (train, validation) = hold_out(1, 1000, 0.05);
        assert_eq!((train.len(), validation.len()), (950, 50));
        let mut all = [train, validation].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..1000));
        assert!(hold_out(1, 10, 0.0).1.is_empty());
    }

    #[test]
    fn every_sample_is_held_out_in_one_fold() {
        let mut recipe = Recipe::built_in("digits").unwrap();
        recipe.set("data.folds=3").unwrap();
        let mut held = Vec::new();
        for fold in 0..3 {
            recipe.set(&format!("data.fold={fold}")).unwrap();
            let (train, validation) = held_out(&recipe, 100);
            assert!(train.len() + validation.len() == 100 && validation.iter().all(|v| !train.contains(v)));
            held.extend(validation);
        }
        held.sort_unstable();
        assert!(held.into_iter().eq(0..100));
    }

    #[test]
    fn without_accuracies_the_smallest_loss_is_the_best() {
        let record = |loss| EpochRecord { validation_accuracy: None, ..record(0.0, loss) };
        assert!(is_best(&[record(0.2), record(0.1)]) && !is_best(&[record(0.1), record(0.2)]));
    }

    #[test]
    fn the_best_epoch_is_accurate_then_confident() {
        let (good, better) = (record(0.98, 0.1), record(0.99, 0.2));
        assert!(is_best(&[good]) && is_best(&[good, better]) && !is_best(&[better, good]));
        let surer = record(0.99, 0.1);
        assert!(is_best(&[better, surer]) && !is_best(&[surer, better]) && is_best(&[surer, surer]));
    }

    #[test]
    fn a_changed_recipe_is_named() {
        let error = same_recipe("a = 1\nb = 2\n", "a = 1\nb = 3\n", Path::new("c")).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("`b = 2`, now `b = 3`"), "{error}");
    }
}
