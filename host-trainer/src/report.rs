//! A training run as one page for a browser: learning curves, accuracy, confusion matrix, recipe. The page needs nothing but itself.

use std::fmt::{Display, Write};

use crate::evaluate::Confusion;
use crate::recipe::Recipe;
use crate::train::{EpochRecord, LossSum, Progress};

/// What there is to report.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The recipe, resolved.
    pub recipe: &'a Recipe,
    /// How training went.
    pub progress: &'a Progress,
    /// Losses on the test set, in f32.
    pub float: &'a LossSum,
    /// What the int8 model takes for what, on the test set.
    pub int8: &'a Confusion,
    /// Names of the classes.
    pub class_names: &'a [String],
    /// Length of the model file.
    pub model_bytes: usize,
    /// SHA-256 of the trained parameters.
    pub weights_hash: &'a str,
}

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1d2430; --paper: #fff; --line: #d5dae2; --one: #1f6feb; --two: #d1660f; }
@media (prefers-color-scheme: dark) { :root { --ink: #dde3ec; --paper: #14181f; --line: #39414e; --one: #6cb0ff; --two: #ffab5e; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { font-weight: 600; } dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.5rem; } dd { margin: 0; }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; } figure { margin: 0; }
svg { width: 100%; height: auto; } polyline { fill: none; stroke-width: 2; } .one { stroke: var(--one); } .two { stroke: var(--two); }
.axis { stroke: var(--line); } text { fill: var(--ink); font: 12px system-ui, sans-serif; } i.one, i.two { font-style: normal; }
i.one { color: var(--one); } i.two { color: var(--two); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } th, td { padding: .2rem .5rem; text-align: right; font-weight: 400; }
th { color: color-mix(in srgb, var(--ink) 65%, transparent); } td.right { font-weight: 600; } pre { overflow-x: auto; border: 1px solid var(--line); padding: 1rem; }
";

/// The page.
pub fn html(run: &Run<'_>) -> String {
    let Run { recipe, progress, float, int8, class_names, model_bytes, weights_hash } = *run;
    let name = escaped(&recipe.name);
    let accuracy = int8.accuracy();
    let percent = |fraction: f64| format!("{:.2} %", fraction * 100.0);
    let facts: [(&str, String); 7] = [
        ("Network", escaped(recipe.network_name())),
        (
            "Test accuracy, int8",
            format!("{} ({} of {})", percent(accuracy.fraction()), accuracy.correct, accuracy.samples),
        ),
        ("Test accuracy, f32", percent(float.accuracy())),
        ("Epochs", format!("{}, kept epoch {}", progress.epoch, progress.best_epoch)),
        ("Time", format!("{:.1} s", progress.seconds)),
        ("Model file", format!("{model_bytes} bytes")),
        ("Weights, SHA-256", format!("<code>{}</code>", escaped(weights_hash))),
    ];
    let facts: String =
        facts.iter().map(|(term, fact)| format!("<dt>{term}</dt><dd>{fact}</dd>\n")).collect();
    let history = &progress.history;
    let curves = [
        Curves::new("Loss", history, |record| (Some(record.train_loss), record.validation_loss)),
        Curves::new("Accuracy, %", history, |record| {
            (Some(record.train_accuracy * 100.0), record.validation_accuracy.map(|fraction| fraction * 100.0))
        }),
    ];
    let [loss, accuracy] = curves.map(|curves| curves.svg());
    let matrix = confusion_table(int8, class_names);
    let recipe = escaped(&recipe.to_toml());
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{name} – smidgen</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>\n<dl>\n{facts}</dl>\n\
         <h2>Learning curves</h2>\n<p><i class=\"one\">━ training</i> (augmented, as the samples came by) \
         <i class=\"two\">━ held out</i></p>\n<div class=\"curves\">\n{loss}{accuracy}</div>\n\
         <h2>Confusion, int8 on the test set</h2>\n<p>A row for each label, a column for what it is taken for.</p>\n{matrix}\
         <h2>Recipe</h2>\n<pre>{recipe}</pre>\n</body>\n</html>\n"
    )
}

/// A figure over the epochs, of the training samples and of those held out.
struct Curves {
    title: &'static str,
    training: Vec<(u32, f64)>,
    held_out: Vec<(u32, f64)>,
}

/// Size of a drawing, and the margins around what is drawn.
const SIZE: (f64, f64) = (400.0, 220.0);
const MARGIN: (f64, f64) = (48.0, 24.0);

impl Curves {
    fn new(
        title: &'static str,
        history: &[EpochRecord],
        figures: impl Fn(&EpochRecord) -> (Option<f64>, Option<f64>),
    ) -> Self {
        let points = |pick: &dyn Fn(&EpochRecord) -> Option<f64>| {
            let points = history.iter().filter_map(|record| Some((record.epoch, pick(record)?)));
            points.filter(|(_, value)| value.is_finite()).collect()
        };
        Self {
            title,
            training: points(&|record| figures(record).0),
            held_out: points(&|record| figures(record).1),
        }
    }

    fn svg(&self) -> String {
        let all = || self.training.iter().chain(&self.held_out);
        let low = all().map(|&(_, value)| value).fold(f64::INFINITY, f64::min);
        let high = all().map(|&(_, value)| value).fold(f64::NEG_INFINITY, f64::max);
        if low > high {
            return String::new();
        }
        // A curve that is flat, or one point, lies in the middle.
        let (low, high) = if low < high { (low, high) } else { (low - 0.5, high + 0.5) };
        let last = all().map(|&(epoch, _)| epoch).max().unwrap_or(1).max(2);
        let (width, height) = (SIZE.0 - 2.0 * MARGIN.0, SIZE.1 - 2.0 * MARGIN.1);
        let x = |epoch: u32| MARGIN.0 + width * f64::from(epoch - 1) / f64::from(last - 1);
        let y = |value: f64| MARGIN.1 + height * (high - value) / (high - low);
        let line = |class: &str, points: &[(u32, f64)]| {
            let points: Vec<_> =
                points.iter().map(|&(epoch, value)| format!("{:.1},{:.1}", x(epoch), y(value))).collect();
            format!("<polyline class=\"{class}\" points=\"{}\"/>\n", points.join(" "))
        };
        let (left, right, top, bottom) = (MARGIN.0, SIZE.0 - MARGIN.0, MARGIN.1, SIZE.1 - MARGIN.1);
        let text = |x: f64, y: f64, anchor: &str, text: &dyn Display| {
            format!("<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{text}</text>\n")
        };
        let digits = if high - low < 1.0 { 3 } else { 1 };
        let number = |value: f64| format!("{value:.digits$}");
        let (w, h) = SIZE;
        let mut svg =
            format!("<figure><svg viewBox=\"0 0 {w} {h}\" role=\"img\" aria-label=\"{}\">\n", self.title);
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<polyline class=\"axis\" points=\"{left},{top} {left},{bottom} {right},{bottom}\"/>"
        );
        for part in [
            text(left, top - 8.0, "start", &self.title),
            text(left - 6.0, top + 4.0, "end", &number(high)),
            text(left - 6.0, bottom + 4.0, "end", &number(low)),
            text(left, bottom + 16.0, "middle", &1),
            text(right, bottom + 16.0, "middle", &format!("epoch {last}")),
            line("one", &self.training),
            line("two", &self.held_out),
        ] {
            svg += &part;
        }
        svg + "</svg></figure>\n"
    }
}

fn confusion_table(confusion: &Confusion, class_names: &[String]) -> String {
    let name = |class: usize| escaped(class_names.get(class).map_or("", String::as_str));
    let head: String = (0..confusion.counts.len()).map(|class| format!("<th>{}</th>", name(class))).collect();
    let mut table = format!("<table>\n<tr><th></th>{head}<th>right</th></tr>\n");
    for (label, row) in confusion.counts.iter().enumerate() {
        let all = row.iter().sum::<usize>().max(1) as f64;
        let cells = row.iter().enumerate().map(|(class, &count)| {
            // Mistakes are what one looks for: the more of them, the redder.
            let shade =
                if class == label || count == 0 { 0.0 } else { (0.15 + 4.0 * count as f64 / all).min(0.8) };
            let kind = if class == label { " class=\"right\"" } else { "" };
            let text = if count == 0 { String::new() } else { count.to_string() };
            format!("<td{kind} style=\"background: rgb(214 48 49 / {shade:.2})\">{text}</td>")
        });
        let right = row.get(label).copied().unwrap_or(0) as f64 / all * 100.0;
        let cells: String = cells.collect();
        table += &format!("<tr><th>{}</th>{cells}<td>{right:.1} %</td></tr>\n", name(label));
    }
    table + "</table>\n"
}

/// Text as it stands in HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(history: Vec<EpochRecord>, name: &str) -> String {
        let mut recipe = Recipe::built_in("digits").unwrap();
        recipe.name = name.into();
        let mut progress = Progress::default();
        (progress.epoch, progress.history) = (history.len() as u32, history);
        html(&Run {
            recipe: &recipe,
            progress: &progress,
            float: &LossSum { loss: 1.0, correct: 3.0, samples: 4 },
            int8: &Confusion { counts: vec![vec![2, 1], vec![0, 1]] },
            class_names: &["a".into(), "b<c".into()],
            model_bytes: 1234,
            weights_hash: "0123",
        })
    }

    fn record(epoch: u32, train_loss: f64) -> EpochRecord {
        EpochRecord {
            epoch,
            learning_rate: 0.1,
            train_loss,
            train_accuracy: 0.5,
            validation_loss: None,
            validation_accuracy: None,
        }
    }

    #[test]
    fn is_whole_and_needs_nothing_else() {
        let page = page(vec![record(1, 2.0), record(2, 1.0), record(3, 0.5)], "digits");
        assert!(page.contains("75.00 % (3 of 4)") && page.contains("<td class=\"right\""), "{page}");
        assert!(page.contains("points=\"48.0,24.0 200.0,138.7 352.0,196.0\""), "{page}");
        assert!(!page.contains("http") && !page.contains("src=") && !page.contains("NaN"), "{page}");
        for tag in ["html", "svg", "table", "dl", "pre", "figure"] {
            assert_eq!(
                page.matches(&format!("<{tag}")).count(),
                page.matches(&format!("</{tag}>")).count(),
                "{tag}"
            );
        }
    }

    #[test]
    fn names_are_text_and_odd_histories_are_drawn() {
        let page = page(vec![record(1, f64::NAN)], "<script>");
        assert!(!page.contains("<script>") && page.contains("&lt;script&gt;") && page.contains("b&lt;c"));
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }
}
