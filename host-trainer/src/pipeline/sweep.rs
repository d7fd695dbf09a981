//! Hyperparameter search over a recipe, and cross-validation.

use std::sync::atomic::{AtomicBool, Ordering};

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use serde::Serialize;

use super::{Run, Training, train};
use crate::data::Split;
use crate::recipe::{Recipe, RecipeError};

/// A key of the recipe and what it may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// The key, with its table.
    pub key: String,
    /// What it may be.
    pub values: AxisValues,
}

/// What a key may be.
#[derive(Clone, Debug, PartialEq)]
pub enum AxisValues {
    /// One of these, in TOML's syntax.
    Choices(Vec<String>),
    /// A number between two, drawn evenly; on a logarithmic scale if both are positive.
    Range(f64, f64),
}

impl Axis {
    /// From `key=a,b,c` or `key=low..high`.
    ///
    /// # Errors
    /// [`RecipeError::Axis`] for what is neither.
    pub fn parse(text: &str) -> Result<Self, RecipeError> {
        let error = || RecipeError::Axis { found: text.to_owned() };
        let (key, values) = text.split_once('=').ok_or_else(error)?;
        let values = match values.split_once("..") {
            Some((low, high)) => {
                let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
                let (low, high) = number(low).zip(number(high)).ok_or_else(error)?;
                if low >= high {
                    return Err(error());
                }
                AxisValues::Range(low, high)
            }
            None => AxisValues::Choices(values.split(',').map(|value| value.trim().to_owned()).collect()),
        };
        Ok(Self { key: key.trim().to_owned(), values })
    }
}

/// Assignments to a recipe, `key=value` each.
pub type Point = Vec<String>;

/// Every combination of the axes' choices, the last one changing fastest.
///
/// # Errors
/// [`RecipeError::Axis`] if one is a range, which has no end of values.
pub fn grid(axes: &[Axis]) -> Result<Vec<Point>, RecipeError> {
    let mut points = vec![Point::new()];
    for Axis { key, values } in axes {
        let AxisValues::Choices(choices) = values else {
            return Err(RecipeError::Axis { found: format!("{key} as a range without --samples") });
        };
        let extended = |point: &Point, choice: &String| [&point[..], &[format!("{key}={choice}")]].concat();
        points =
            points.iter().flat_map(|point| choices.iter().map(|choice| extended(point, choice))).collect();
    }
    Ok(points)
}

/// `count` points with a value of each axis at random.
pub fn random(axes: &[Axis], count: u32, seed: u64) -> Vec<Point> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut unit = || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    let mut point = || {
        let value = |Axis { key, values }: &Axis| match values {
            AxisValues::Choices(choices) => {
                let index = (unit() * choices.len() as f64) as usize;
                format!("{key}={}", choices[index.min(choices.len() - 1)])
            }
            &AxisValues::Range(low, high) if low > 0.0 => {
                let value = libm::exp(libm::log(low) + unit() * (libm::log(high) - libm::log(low)));
                format!("{key}={value:.4e}")
            }
            &AxisValues::Range(low, high) => format!("{key}={:.4e}", low + unit() * (high - low)),
        };
        axes.iter().map(value).collect()
    };
    (0..count).map(|_| point()).collect()
}

/// How good a recipe is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// The assignments that made it.
    pub point: Point,
    /// Accuracy of the best epoch on held-out samples, of each fold.
    pub folds: Vec<f64>,
    /// Their mean.
    pub accuracy: f64,
    /// Their standard deviation; 0 of a single one.
    pub deviation: f64,
    /// Mean over the folds of the best epoch's loss on held-out samples.
    pub loss: f64,
    /// Why there is no result, if there is none: then the accuracy is 0.
    pub error: Option<String>,
}

/// Trains `recipe` with the assignments of `point`, once or, with `folds` of at least 2, once for each fold. `None` if it was stopped.
///
/// A point that cannot be trained, or diverges, has an error instead of a score.
///
/// # Errors
/// [`RecipeError`] if the assignments are not right.
pub fn score(
    recipe: &Recipe,
    point: &Point,
    folds: u32,
    split: &Split,
    threads: usize,
    stop: &AtomicBool,
) -> Result<Option<Score>, RecipeError> {
    let mut recipe = recipe.clone();
    recipe.set_all(point.iter().map(String::as_str))?;
    let (mut accuracies, mut losses) = (Vec::new(), Vec::new());
    let failed = |error: String| {
        let point = point.clone();
        Score { point, folds: vec![], accuracy: 0.0, deviation: 0.0, loss: f64::INFINITY, error: Some(error) }
    };
    for fold in 0..folds.max(1) {
        if folds >= 2 {
            recipe.set_all([format!("data.folds={folds}").as_str(), &format!("data.fold={fold}")])?;
        }
        let run = Run { recipe: &recipe, split, threads, checkpoint: None, resume: false, stop };
        let trained = match train(&run, &mut ()) {
            Ok(Training::Done(trained)) => trained,
            Ok(Training::Stopped(_)) => return Ok(None),
            Err(_) if stop.load(Ordering::Relaxed) => return Ok(None),
            Err(error) => return Ok(Some(failed(error.to_string()))),
        };
        let best = trained.progress.history.iter().find(|record| record.epoch == trained.progress.best_epoch);
        // A task without an accuracy is ranked by its loss.
        let held_out = best
            .and_then(|record| Some((record.validation_accuracy.unwrap_or(0.0), record.validation_loss?)));
        let Some((accuracy, loss)) = held_out else {
            let error = "there are no held-out samples: set data.validation_fraction, or give --folds";
            return Ok(Some(failed(error.to_owned())));
        };
        accuracies.push(accuracy);
        losses.push(loss);
    }
    let count = accuracies.len() as f64;
    let accuracy = accuracies.iter().sum::<f64>() / count;
    let spread: f64 = accuracies.iter().map(|each| (each - accuracy).powi(2)).sum();
    let deviation = if count > 1.0 { (spread / (count - 1.0)).sqrt() } else { 0.0 };
    let loss = losses.iter().sum::<f64>() / count;
    Ok(Some(Score { point: point.clone(), folds: accuracies, accuracy, deviation, loss, error: None }))
}

/// The most accurate first, of equally accurate ones the one with the smaller loss.
pub fn rank(scores: &mut [Score]) {
    scores.sort_by(|a, b| b.accuracy.total_cmp(&a.accuracy).then(a.loss.total_cmp(&b.loss)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes() -> Vec<Axis> {
        ["training.batch=32,64", "optimizer.kind=sgd, adam", "schedule.learning_rate=0.01"]
            .map(|text| Axis::parse(text).unwrap())
            .to_vec()
    }

    #[test]
    fn a_grid_has_every_combination() {
        let points = grid(&axes()).unwrap();
        assert_eq!(points.len(), 4);
        assert_eq!(points[1], ["training.batch=32", "optimizer.kind=adam", "schedule.learning_rate=0.01"]);
        assert!(grid(&[Axis::parse("a=1..2").unwrap()]).is_err());
    }

    #[test]
    fn random_points_lie_in_their_ranges() {
        let axes = ["schedule.learning_rate=1e-4..1e-1", "training.label_smoothing=0..0.2", "a=x,y"];
        let axes = axes.map(|text| Axis::parse(text).unwrap());
        let points = random(&axes, 200, 1);
        let number = |text: &str| text.split_once('=').unwrap().1.parse::<f64>().unwrap();
        let rates: Vec<f64> = points.iter().map(|point| number(&point[0])).collect();
        assert!(rates.iter().all(|rate| (1e-4..=1e-1).contains(rate)));
        // On a logarithmic scale: a third in each decade. The standard deviation of the count is 6.7.
        assert!(rates.iter().filter(|&&rate| rate < 1e-3).count().abs_diff(67) < 30);
        assert!(points.iter().all(|point| (0.0..=0.2).contains(&number(&point[1]))));
        assert!(points.iter().any(|point| point[2] == "a=x") && points.iter().any(|point| point[2] == "a=y"));
        assert_eq!(points, random(&axes, 200, 1));
    }

    #[test]
    fn what_is_no_axis_is_refused() {
        for bad in ["a", "a=2..1", "a=x..y"] {
            assert!(Axis::parse(bad).unwrap_err().to_string().contains("key=low..high"), "{bad}");
        }
    }
}
