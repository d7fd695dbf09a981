//! Which learning rates a network can be trained with (Smith 2017, `arXiv:1506.01186`).

use serde::Serialize;

use super::executor::{Driver, ExecutorError};

/// A rate that grows from step to step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateSearch {
    /// The first rate. Positive.
    pub first: f32,
    /// The last rate, greater.
    pub last: f32,
    /// How many steps lie between, at least 2.
    pub steps: u32,
}

/// One step of a search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RateTrial {
    /// The learning rate.
    pub rate: f32,
    /// Mean loss of the batch, before the step.
    pub loss: f64,
    /// Mean of the losses so far, the newer ones counting more.
    pub smooth: f64,
}

/// Trains with a rate that is multiplied by the same factor from step to step, until the loss is no number, is four times its least value, or all steps
/// are done. Parameters and state are put back. Also gives the rate that is a tenth of the one with the least smoothed loss.
///
/// `batch` fills in the samples of a step.
///
/// # Errors
/// See [`ExecutorError`].
pub fn find_rate(
    driver: &mut Driver<'_, '_>,
    search: RateSearch,
    mut batch: impl FnMut(u32, &mut Vec<u32>),
) -> Result<(Vec<RateTrial>, f32), ExecutorError> {
    /// What of the mean is kept at each step.
    const KEEP: f64 = 0.9;
    let start = driver.executor().snapshot();
    let growth = f64::from(search.last / search.first);
    let (mut trials, mut samples) = (Vec::<RateTrial>::new(), Vec::new());
    let (mut mean, mut least) = (0.0, f64::INFINITY);
    for step in 0..search.steps {
        let progress = f64::from(step) / f64::from(search.steps.max(2) - 1);
        let rate = (f64::from(search.first) * libm::pow(growth, progress)) as f32;
        samples.clear();
        batch(step, &mut samples);
        let loss = driver.train(0, &samples, rate)?.mean_loss();
        if !loss.is_finite() {
            break;
        }
        mean = KEEP * mean + (1.0 - KEEP) * loss;
        // As many steps as there were, not infinitely many, make up the mean.
        let smooth = mean / (1.0 - libm::pow(KEEP, f64::from(step) + 1.0));
        trials.push(RateTrial { rate, loss, smooth });
        least = least.min(smooth);
        if smooth > 4.0 * least {
            break;
        }
    }
    driver.executor().restore(&start)?;
    let best = trials.iter().min_by(|a, b| a.smooth.total_cmp(&b.smooth));
    Ok((trials.clone(), best.map_or(search.first, |trial| trial.rate / 10.0)))
}
