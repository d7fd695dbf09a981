//! A training run as one page for a browser: curves, accuracy, mistakes, layers, memory, recipe. The page needs nothing but itself.

mod anomalies;
mod confusion;
mod curves;
mod layers;
mod masks;
mod memory;
mod mistakes;
mod targets;

use confusion::confusion_table;
use curves::Curves;
pub use layers::{LayerFigures, layer_figures};
pub use masks::{MaskPicture, worst_masks};
pub use mistakes::{Mistake, worst_mistakes};
pub use targets::{MeasuredFigures, TargetFigures, target_figures};

use crate::compile::quantize::Sensitivity;
use crate::data::Dataset;
use crate::evaluate::Confusion;
use crate::evaluate::anomaly::{Decision, Scores};
use crate::inspect::MemoryMap;
use crate::recipe::Recipe;
use crate::train::{EpochRecord, LossSum, Progress};

/// What there is to report.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The recipe, resolved.
    pub recipe: &'a Recipe,
    /// How training went.
    pub progress: &'a Progress,
    /// How quantization-aware training went, if there was any.
    pub aware: Option<&'a Progress>,
    /// Losses on the test set, in f32.
    pub float: &'a LossSum,
    /// What came out on the test set.
    pub result: TestResult<'a>,
    /// The test set.
    pub test: &'a Dataset,
    /// The layers of the int8 model.
    pub layers: &'a [LayerFigures],
    /// What quantization costs them.
    pub sensitivity: &'a Sensitivity,
    /// The arena over the steps of inference, and their names.
    pub memory_map: (&'a MemoryMap, &'a [String]),
    /// The model on each target.
    pub targets: &'a [TargetFigures],
    /// Length of the arena.
    pub arena_bytes: usize,
    /// Length of the model file.
    pub model_bytes: usize,
    /// SHA-256 of the trained parameters.
    pub weights_hash: &'a str,
}

/// What came out on the test set, by the task.
#[derive(Clone, Copy, Debug)]
pub enum TestResult<'a> {
    /// Of a classifier.
    Classes {
        /// Losses of the ensemble, if there is one.
        ensemble: Option<&'a LossSum>,
        /// What the int8 model takes for what.
        int8: &'a Confusion,
        /// Its worst mistakes, the worst first.
        mistakes: &'a [Mistake],
    },
    /// Of a network that gives its input back.
    Reconstruction {
        /// The scores in f32.
        float: &'a Scores,
        /// Those of the int8 model.
        int8: &'a Scores,
        /// What its threshold makes of them.
        decision: &'a Decision,
    },
    /// Of a network that finds masks.
    Masks {
        /// Which pixels the network takes for what in f32.
        float: &'a Confusion,
        /// Which pixels the int8 model takes for what.
        int8: &'a Confusion,
        /// Its worst masks.
        pictures: &'a [MaskPicture],
    },
}

const STYLE: &str = include_str!("style.css");

/// The page.
pub fn html(run: &Run<'_>) -> String {
    let Run { recipe, progress, test, .. } = *run;
    let name = escaped(&recipe.name);
    let history = &progress.history;
    let curves = [
        Curves::new("Loss", history, |record| (Some(record.train_loss), record.validation_loss))
            .logarithmic(),
        Curves::new("Wrong, %", history, wrong).logarithmic(),
        Curves::new("Learning rate", history, |record| (Some(record.learning_rate.into()), None)),
    ];
    let mut drawn: String = curves.iter().map(Curves::svg).collect();
    if let Some(aware) = run.aware {
        let of_aware = match recipe.task.has_accuracy() {
            true => Curves::new("Wrong while training for int8, %", &aware.history, wrong),
            false => Curves::new("Loss while training for int8", &aware.history, |record| {
                (Some(record.train_loss), record.validation_loss)
            }),
        };
        drawn += &of_aware.svg();
    }
    let (map, step_names) = run.memory_map;
    let (title, body, worst) = match run.result {
        TestResult::Classes { int8, mistakes, .. } => (
            "Confusion, int8 on the test set",
            format!(
                "<p>A row for each label, a column for what it is taken for.</p>\n{}",
                confusion_table(int8, test.class_names())
            ),
            Some(("The worst mistakes, int8 on the test set", mistakes::pictures(mistakes, test))),
        ),
        TestResult::Masks { int8, pictures, .. } => (
            "Pixels, int8 on the test set",
            format!(
                "<p>A row for each value of the masks, a column for what its pixels are taken for.</p>\n{}",
                confusion_table(int8, test.class_names())
            ),
            Some(("The worst masks, int8 on the test set", masks::pictures(pictures, test))),
        ),
        TestResult::Reconstruction { int8, decision, .. } => {
            ("Scores, int8 on the test set", anomalies::histogram(int8, decision.threshold), None)
        }
    };
    let mut sections = vec![
        (
            "Learning curves",
            format!(
                "<p><i class=\"one\">━ training</i> (augmented, as the samples came by) <i class=\"two\">━ held out</i></p>\n\
                 <div class=\"curves\">\n{drawn}</div>\n"
            ),
        ),
        (title, body),
    ];
    sections.extend(worst);
    sections.extend([
        ("Layers", layers::table(run.layers, run.sensitivity)),
        ("Memory", memory::drawing(map, step_names, run.arena_bytes)),
        ("Targets", targets::table(run.targets)),
        ("Recipe", format!("<pre>{}</pre>\n", escaped(&recipe.to_toml()))),
    ]);
    let facts: String =
        facts(run).iter().map(|(term, fact)| format!("<dt>{term}</dt><dd>{fact}</dd>\n")).collect();
    let sections: String = sections
        .iter()
        .map(|(title, body)| format!("<section>\n<h2>{title}</h2>\n{body}</section>\n"))
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{name} – smidgen</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>\n<dl>\n{facts}</dl>\n{sections}</body>\n</html>\n"
    )
}

/// The accuracies of an epoch, if it has some, in percent.
/// What is not right of the training samples and of those held out, in percent.
fn wrong(record: &EpochRecord) -> (Option<f64>, Option<f64>) {
    let percent = |right: Option<f64>| right.map(|right| (1.0 - right) * 100.0);
    (percent(record.train_accuracy), percent(record.validation_accuracy))
}

/// The run in a few lines.
fn facts(run: &Run<'_>) -> Vec<(&'static str, String)> {
    let Run { recipe, progress, float, weights_hash, .. } = *run;
    let percent = |fraction: f64| format!("{:.2} %", fraction * 100.0);
    let macs: u64 = run.layers.iter().map(|layer| layer.macs).sum();
    let epochs = format!("{}, kept epoch {}", progress.epoch, progress.best_epoch);
    let epochs = match run.aware {
        None => epochs,
        Some(aware) => format!("{epochs}; then {} for int8, kept epoch {}", aware.epoch, aware.best_epoch),
    };
    let seconds = progress.seconds + run.aware.map_or(0.0, |aware| aware.seconds);
    let mut facts = vec![("Network", escaped(recipe.network_name()))];
    match run.result {
        TestResult::Classes { int8, ensemble, .. } => {
            let accuracy = int8.accuracy();
            let difference = (accuracy.fraction() - float.accuracy()) * 100.0;
            let counts = format!("({} of {})", accuracy.correct, accuracy.samples);
            facts.push(("Test accuracy, int8", format!("{} {counts}", percent(accuracy.fraction()))));
            let difference = format!("(int8 {difference:+.2} points)");
            facts.push(("Test accuracy, f32", format!("{} {difference}", percent(float.accuracy()))));
            facts.extend(
                ensemble.map(|ensemble| ("Test accuracy, ensemble in f32", percent(ensemble.accuracy()))),
            );
        }
        TestResult::Masks { float, int8, .. } => {
            for (name, confusion) in [("Pixels right, int8", int8), ("Pixels right, f32", float)] {
                facts.push((name, percent(confusion.accuracy().fraction())));
            }
            facts.push(("Mean IoU of classes, int8", percent(int8.mean_iou())));
            facts.push(("Mean IoU of classes, f32", percent(float.mean_iou())));
        }
        TestResult::Reconstruction { float, int8, decision } => {
            let auc = |scores: &Scores| scores.auc().map(|auc| format!("{auc:.4}"));
            facts.extend(auc(int8).map(|auc| ("Area under the ROC curve, int8", auc)));
            facts.extend(auc(float).map(|auc| ("Area under the ROC curve, f32", auc)));
            facts.push(("Threshold, int8", anomalies::decision(decision)));
        }
    }
    facts.extend([
        ("Epochs", epochs),
        ("Time", format!("{seconds:.1} s")),
        ("Multiply-accumulates", grouped(macs)),
        ("Arena", format!("{} bytes", grouped(run.arena_bytes as u64))),
        ("Model file", format!("{} bytes", grouped(run.model_bytes as u64))),
        ("Weights, SHA-256", format!("<code>{}</code>", escaped(weights_hash))),
    ]);
    facts
}

/// A number in groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Text as it stands in HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::quantize::LayerSensitivity;
    use crate::inspect::{Moment, Placed, Use};

    fn page(history: Vec<EpochRecord>, name: &str) -> String {
        let result = TestResult::Classes {
            ensemble: Some(&LossSum { loss: 1.0, correct: 4.0, samples: 4 }),
            int8: &Confusion { counts: vec![vec![2, 1], vec![0, 1]] },
            mistakes: &[Mistake { sample: 0, label: 0, predicted: 1, confidence: 0.9 }],
        };
        page_of(history, name, result)
    }

    fn page_of(history: Vec<EpochRecord>, name: &str, result: TestResult<'_>) -> String {
        let mut recipe = Recipe::built_in("digits").unwrap();
        recipe.name = name.into();
        let mut progress = Progress::default();
        (progress.epoch, progress.history) = (history.len() as u32, history);
        let layer = LayerSensitivity {
            layer: "conv_2d_1".into(),
            operator: "conv_2d",
            accuracy: Some(0.5),
            loss: 1.5,
            signal_to_noise_db: Some(31.26),
        };
        let figures = LayerFigures {
            name: "conv_2d_1".into(),
            operator: "conv_2d_i8",
            output: [4, 5, 6],
            macs: 1_234_567,
            parameters: 89,
            receptive_field: [3, 3],
            live_bytes: Some(4321),
        };
        let placed = Placed { bytes: 0..64, used: Use::Written };
        let map = MemoryMap {
            used_bytes: 64,
            lower_bound: 64,
            moments: vec![Moment { live_bytes: 64, tensors: vec![placed] }],
        };
        html(&Run {
            recipe: &recipe,
            progress: &progress,
            aware: Some(&progress),
            float: &LossSum { loss: 1.0, correct: 3.0, samples: 4 },
            result,
            test: &Dataset::new("t", vec![0; 8], [2, 2, 1], vec![0, 1], vec!["a".into(), "b<c".into()])
                .unwrap(),
            layers: &[figures],
            sensitivity: &Sensitivity {
                samples: 10,
                float_accuracy: Some(0.75),
                float_loss: 1.0,
                int8_accuracy: Some(0.5),
                layers: vec![layer],
            },
            memory_map: (&map, &["conv_2d_1".into()]),
            targets: &[TargetFigures {
                target: "cortex-m4",
                arena_bytes: 6304,
                model_bytes: 23_000,
                measured: Some(MeasuredFigures {
                    instructions: 1_234_000,
                    stack_peak_bytes: 700,
                    code_bytes: 9_000,
                }),
            }],
            arena_bytes: 64,
            model_bytes: 1234,
            weights_hash: "0123",
        })
    }

    fn record(epoch: u32, train_loss: f64) -> EpochRecord {
        EpochRecord {
            epoch,
            learning_rate: 0.1,
            train_loss,
            train_accuracy: Some(0.5),
            validation_loss: None,
            validation_accuracy: None,
        }
    }

    #[test]
    fn is_whole_and_needs_nothing_else() {
        let page = page(vec![record(1, 2.0), record(2, 1.0), record(3, 0.5)], "digits");
        assert!(page.contains("75.00 % (3 of 4)") && page.contains("<td class=\"right\""), "{page}");
        assert!(page.contains("points=\"48.0,24.0 200.0,110.0 352.0,196.0\""), "{page}");
        assert!(!page.contains("http") && !page.contains("src=") && !page.contains("NaN"), "{page}");
        for tag in ["html", "svg", "table", "dl", "pre", "figure", "section", "rect", "figcaption"] {
            assert_eq!(
                page.matches(&format!("<{tag}")).count(),
                page.matches(&format!("</{tag}>")).count(),
                "{tag}"
            );
        }
    }

    #[test]
    fn every_part_is_there() {
        let page = page(vec![record(1, 2.0), record(2, 1.0)], "digits");
        for part in [
            "int8 +0.00 points",
            "ensemble in f32</dt><dd>100.00 %",
            "then 2 for int8",
            "a taken for <b>b&lt;c</b>, 90 % sure",
            "data:image/png;base64,",
            "<td>4×5×6</td><td>1,234,567</td><td>89</td><td>3×3</td><td>4,321</td><td>31.3 dB</td><td>-25.00</td>",
            "Memory map",
            "<td>cortex-m4</td><td>1,234,000</td><td>6,304</td><td>700</td><td>7,004</td><td>23,000</td><td>32,000</td>",
            "while training for int8",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
    }

    #[test]
    fn a_reconstruction_has_scores_instead_of_classes() {
        let scores = Scores { normal: vec![0.1, 0.2], anomalous: vec![0.15, 0.9] };
        let decision = scores.decide(0.5);
        let result = TestResult::Reconstruction { float: &scores, int8: &scores, decision: &decision };
        let record = |epoch| EpochRecord { train_accuracy: None, ..record(epoch, 1.0) };
        let page = page_of(vec![record(1), record(2)], "digits", result);
        for part in
            ["curve, int8</dt><dd>0.7500", "Threshold", "50.0 % of 2 anomalies", "aria-label=\"Scores\""]
        {
            assert!(page.contains(part), "{part} in {page}");
        }
        assert!(!page.contains("Confusion") && !page.contains("aria-label=\"Accuracy"), "{page}");
    }

    #[test]
    fn names_are_text_and_odd_histories_are_drawn() {
        let page = page(vec![record(1, f64::NAN)], "<script>");
        assert!(!page.contains("<script>") && page.contains("&lt;script&gt;") && page.contains("b&lt;c"));
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }
}
