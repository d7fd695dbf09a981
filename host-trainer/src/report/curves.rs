//! Figures over the epochs.

use std::fmt::{Display, Write};

use crate::train::EpochRecord;

/// A figure over the epochs, of the training samples and of those held out.
pub(super) struct Curves {
    title: &'static str,
    training: Vec<(u32, f64)>,
    held_out: Vec<(u32, f64)>,
}

/// Size of a drawing, and the margins around what is drawn.
const SIZE: (f64, f64) = (400.0, 220.0);
const MARGIN: (f64, f64) = (48.0, 24.0);

impl Curves {
    pub(super) fn new(
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

    pub(super) fn svg(&self) -> String {
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
