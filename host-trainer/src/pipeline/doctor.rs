//! Is something wrong with a recipe? Checks that take seconds, before a training that takes hours.

use super::{PipelineError, Prepared};
use crate::compile::Loss;
use crate::data::{Sampler, Split};
use crate::recipe::{Recipe, TaskKind};
use crate::train::{Executor, RateSearch, RateTrial, find_rate};

/// Steps in which one batch has to be learned by heart.
const STEPS: u32 = 300;
/// What the loss has to come down to, as a share of what it was; to classify all of the batch right will do as well.
const LEARNED: f64 = 0.1;
/// The same for what is given back, and for masks.
const RECONSTRUCTED: f64 = 0.5;
/// How far the first loss may be from the expected one, as a factor either way.
const FACTOR: f64 = 2.0;
/// How much more frequent a class may be than another one before somebody should know.
const UNBALANCED: usize = 10;

/// What one check found.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Finding {
    /// What was checked.
    pub check: &'static str,
    /// Whether it is as it should be.
    pub good: bool,
    /// The figures, and what to do if they are bad.
    pub detail: String,
}

/// Checks the classes of the data, the loss before training, the gradients of all layers, and whether one batch can be learned by heart.
///
/// # Errors
/// See [`PipelineError`]: what keeps the recipe from being trained at all.
pub fn examine(recipe: &Recipe, split: &Split, threads: usize) -> Result<Vec<Finding>, PipelineError> {
    let prepared = Prepared::new(recipe, split)?;
    let model = prepared.model()?;
    let executor = Executor::new(&model, prepared.options.chunks as usize, threads)?;
    let batch = executor.batch_samples();
    let mut sampler = Sampler::new(recipe.data.sampling, prepared.train.clone(), split.train.labels());
    let mut order = vec![0; sampler.epoch_len()];
    sampler.fill(recipe.training.seed, 0, &mut order);
    let Some(samples) = order.get(..batch) else {
        return Err(crate::train::FitError::TooFewSamples { found: order.len(), batch }.into());
    };
    let teacher = prepared.teacher()?;
    let feed = prepared.feed(split, &teacher, false);
    let mut findings = vec![classes(&prepared, split, recipe), schedule(recipe, order.len() / batch)];
    executor.scope(&feed, |driver| {
        let first = driver.gradients(0, samples)?.mean_loss();
        findings.push(first_loss(&prepared, first));
        findings.push(executor.with_gradients(|gradients| gradient_norms(&prepared, gradients)));
        let rate = recipe.schedule.learning_rate;
        let (mut loss, mut accuracy, mut steps) = (first, 0.0, 0);
        // What is narrower than its input cannot give all of it back.
        let learned = if recipe.task.kind == TaskKind::Classify { LEARNED } else { RECONSTRUCTED };
        while steps < STEPS && loss.is_finite() && loss > learned * first && accuracy < 1.0 {
            let losses = driver.train(0, samples, rate)?;
            (loss, accuracy) = (losses.mean_loss(), losses.accuracy());
            steps += 1;
        }
        let good = loss.is_finite() && (loss <= learned * first || accuracy >= 1.0);
        let percent = accuracy * 100.0;
        let advice = match (good, loss.is_finite() && loss < 2.0 * first) {
            (true, _) => "",
            (false, true) => {
                "; the network or the loss cannot express it, or schedule.learning_rate is too low"
            }
            (false, false) => "; lower schedule.learning_rate",
        };
        findings.push(Finding {
            check: "one batch by heart",
            good,
            detail: match recipe.task.has_accuracy() {
                true => format!(
                    "loss {first:.4} to {loss:.4}, {percent:.1} % right, in {steps} steps of {rate}{advice}"
                ),
                false => format!("loss {first:.4} to {loss:.4}, in {steps} steps of {rate}{advice}"),
            },
        });
        Ok::<_, PipelineError>(())
    })??;
    Ok(findings)
}

/// Searches for a learning rate, see [`find_rate`]. Batches come as in training, varied as the recipe says.
///
/// # Errors
/// See [`PipelineError`].
pub fn search_rate(
    recipe: &Recipe,
    split: &Split,
    search: RateSearch,
    threads: usize,
) -> Result<(Vec<RateTrial>, f32), PipelineError> {
    let prepared = Prepared::new(recipe, split)?;
    let model = prepared.model()?;
    let executor = Executor::new(&model, prepared.options.chunks as usize, threads)?;
    let size = executor.batch_samples();
    let mut sampler = Sampler::new(recipe.data.sampling, prepared.train.clone(), split.train.labels());
    let mut order = vec![0; sampler.epoch_len()];
    if order.len() < size {
        return Err(crate::train::FitError::TooFewSamples { found: order.len(), batch: size }.into());
    }
    let teacher = prepared.teacher()?;
    let feed = prepared.feed(split, &teacher, true);
    let per_epoch = (order.len() / size) as u32;
    let found = executor.scope(&feed, |driver| {
        find_rate(driver, search, |step, samples| {
            if step % per_epoch == 0 {
                sampler.fill(recipe.training.seed, step / per_epoch, &mut order);
            }
            samples.extend_from_slice(&order[(step % per_epoch) as usize * size..][..size]);
        })
    });
    Ok(found??)
}

fn classes(prepared: &Prepared, split: &Split, recipe: &Recipe) -> Finding {
    let mut counts = vec![0_usize; split.train.class_names().len()];
    prepared.train.iter().for_each(|&sample| counts[split.train.label(sample as usize) as usize] += 1);
    let (trained_on, held_out) = (prepared.train.len(), prepared.validation.len());
    if recipe.task.kind == TaskKind::Segment {
        let mut counts = vec![0_usize; split.train.class_names().len()];
        let pixels = prepared.train.iter().filter_map(|&sample| split.train.mask(sample as usize)).flatten();
        pixels.for_each(|&class| counts[usize::from(class)] += 1);
        let all = counts.iter().sum::<usize>().max(1) as f64;
        let share = |(name, &count): (&String, &usize)| format!("{name} {:.1} %", 100.0 * count as f64 / all);
        let shares: Vec<String> = split.train.class_names().iter().zip(&counts).map(share).collect();
        let good = counts.iter().all(|&count| count > 0);
        let advice = if good { "" } else { "; a class has no pixel to train on" };
        let detail = format!(
            "{trained_on} images to train on, {held_out} held out; pixels by mask value: {}{advice}",
            shares.join(", ")
        );
        return Finding { check: "classes", good, detail };
    }
    if recipe.task.kind == TaskKind::Reconstruct {
        let (is, normal) = (split.train.class_names(), super::normal_classes(&split.train));
        let detail = format!(
            "{trained_on} samples to train on, {held_out} held out; normal: {}; anomalies: {}",
            normal.join(", "),
            is.iter().filter(|name| !normal.contains(name)).cloned().collect::<Vec<_>>().join(", ")
        );
        return Finding { check: "classes", good: true, detail };
    }
    let (least, most) =
        (counts.iter().min().copied().unwrap_or(0), counts.iter().max().copied().unwrap_or(0));
    let balanced = recipe.loss.weighs_classes() || recipe.data.sampling != crate::data::Sampling::Shuffle;
    let good = balanced || most <= UNBALANCED * least;
    let advice = if good { "" } else { "; set data.sampling or loss.balance_classes" };
    let detail =
        format!("{trained_on} samples to train on, {held_out} held out, {least} to {most} a class{advice}");
    Finding { check: "classes", good, detail }
}

/// The learning rate gets as far as it should.
fn schedule(recipe: &Recipe, steps: usize) -> Finding {
    let (epochs, warm_up) = (recipe.training.epochs, recipe.schedule.warm_up_epochs);
    let good = f64::from(warm_up) < f64::from(epochs);
    let advice =
        if good { "" } else { ": no step has schedule.learning_rate; lower schedule.warm_up_epochs" };
    let detail = format!("{epochs} epochs of {steps} steps, {warm_up} of them to warm up{advice}");
    Finding { check: "schedule", good, detail }
}

/// A classifier that knows nothing has the logarithm of the number of classes as its cross-entropy.
fn first_loss(prepared: &Prepared, found: f64) -> Finding {
    let classes = prepared.graph.class_names.len() as f64;
    let expected = match prepared.options.loss {
        Loss::SoftmaxCrossEntropy { .. } | Loss::SoftCrossEntropy { .. } => classes.ln(),
        Loss::BinaryCrossEntropy => core::f64::consts::LN_2,
        _ => {
            let detail = format!("{found:.4}");
            return Finding { check: "loss before training", good: found.is_finite(), detail };
        }
    };
    // Weights that were trained before may know something.
    let is_random = prepared.not_loaded.len() == prepared.graph.trained_parameters().count()
        || prepared.not_loaded.is_empty();
    let good = found <= FACTOR * expected && (found * FACTOR >= expected || !is_random);
    let advice = match good {
        true => "",
        false if found > expected => "; the initial weights are too large, or the inputs are not normalized",
        false => "; the network knows the labels before it has learned anything",
    };
    let detail = format!("{found:.4}, expected about {expected:.4}{advice}");
    Finding { check: "loss before training", good, detail }
}

/// Every parameter that learns has a gradient that is a number and not 0.
fn gradient_norms(prepared: &Prepared, gradients: &[u8]) -> Finding {
    let (mut least, mut greatest) = ((f64::INFINITY, ""), (0.0, ""));
    for id in prepared.graph.trained_parameters() {
        let name = prepared.graph.tensor(id).name.as_str();
        let Some((start, end)) =
            prepared.program.tensor(&format!("{name}/gradient")).and_then(smidgen::Operand::range)
        else {
            continue;
        };
        let values = gradients[start..end].as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
        let norm = values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        if !norm.is_finite() {
            let detail = format!("the gradient of {name} is no number");
            return Finding { check: "gradients", good: false, detail };
        }
        if norm < least.0 {
            least = (norm, name);
        }
        if norm > greatest.0 {
            greatest = (norm, name);
        }
    }
    let good = least.0 > 0.0;
    let advice = if good { "" } else { "; nothing that it computes reaches the loss" };
    let detail =
        format!("norms from {:.2e} ({}) to {:.2e} ({}){advice}", least.0, least.1, greatest.0, greatest.1);
    Finding { check: "gradients", good, detail }
}
