//! Figures over the epochs.

use std::fmt::{Display, Write};

use crate::train::EpochRecord;

/// A figure over the epochs, of the training samples and of those held out.
pub(super) struct Curves {
    title: &'static str,
    logarithmic: bool,
    training: Vec<(u32, f64)>,
    held_out: Vec<(u32, f64)>,
}

/// How values become heights.
struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Axis {
    /// An axis for these values, if there are any.
    fn of(values: &[f64], logarithmic: bool) -> Option<Self> {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let positive = values.iter().copied().filter(|&value| value > 0.0).fold(f64::INFINITY, f64::min);
        match () {
            () if low > high => None,
            // A curve that is flat, or one point, lies in the middle.
            () if low == high => Some(Self { low: low - 0.5, high: high + 0.5, logarithmic: false }),
            () if logarithmic && low > 0.0 => Some(Self { low, high, logarithmic }),
            // Zeros are below everything else.
            () if logarithmic && low == 0.0 => Some(Self { low: positive / 2.0, high, logarithmic }),
            () => Some(Self { low, high, logarithmic: false }),
        }
    }

    /// From 0 at the bottom to 1 at the top.
    fn place(&self, value: f64) -> f64 {
        let &Self { low, high, logarithmic } = self;
        if logarithmic {
            (value.max(low) / low).ln() / (high / low).ln()
        } else {
            (value - low) / (high - low)
        }
    }

    /// Round values, some four of them or more.
    fn ticks(&self) -> Vec<f64> {
        let &Self { low, high, logarithmic } = self;
        let mut ticks = Vec::new();
        if logarithmic {
            let [first, last] = [low, high].map(|end| end.log10().floor() as i32);
            let steps: &[i32] = if last - first > 3 { &[1] } else { &[1, 2, 5] };
            ticks = (first..=last)
                .flat_map(|exponent| steps.iter().map(move |&step| round(step, exponent)))
                .collect();
            ticks.retain(|tick| (low..=high).contains(tick));
        }
        if ticks.len() < 2 {
            let exponent = ((high - low) / 4.0).log10().floor() as i32;
            let step = [1, 2, 5, 10].into_iter().find(|&step| round(step, exponent) * 5.0 >= high - low);
            let step = step.unwrap_or(10);
            let [first, last] = [low, high].map(|end| end / round(step, exponent));
            ticks = (first.ceil() as i32..=last.floor() as i32)
                .map(|index| round(index * step, exponent))
                .collect();
        }
        ticks
    }
}

/// `number * 10^exponent`, the float that is written so.
fn round(number: i32, exponent: i32) -> f64 {
    format!("{number}e{exponent}").parse().unwrap_or_default()
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
            logarithmic: false,
            training: points(&|record| figures(record).0),
            held_out: points(&|record| figures(record).1),
        }
    }

    /// Equal factors are equally high, so that what comes after the first epochs shows, too.
    pub(super) fn logarithmic(self) -> Self {
        Self { logarithmic: true, ..self }
    }

    pub(super) fn svg(&self) -> String {
        let all = || self.training.iter().chain(&self.held_out);
        let values: Vec<f64> = all().map(|&(_, value)| value).collect();
        let Some(axis) = Axis::of(&values, self.logarithmic) else { return String::new() };
        let last = all().map(|&(epoch, _)| epoch).max().unwrap_or(1).max(2);
        let (width, height) = (SIZE.0 - 2.0 * MARGIN.0, SIZE.1 - 2.0 * MARGIN.1);
        let x = |epoch: u32| MARGIN.0 + width * f64::from(epoch - 1) / f64::from(last - 1);
        let y = |value: f64| MARGIN.1 + height * (1.0 - axis.place(value));
        let line = |class: &str, points: &[(u32, f64)]| {
            let points: Vec<_> =
                points.iter().map(|&(epoch, value)| format!("{:.1},{:.1}", x(epoch), y(value))).collect();
            format!("<polyline class=\"{class}\" points=\"{}\"/>\n", points.join(" "))
        };
        let (left, right, top, bottom) = (MARGIN.0, SIZE.0 - MARGIN.0, MARGIN.1, SIZE.1 - MARGIN.1);
        let text = |x: f64, y: f64, anchor: &str, text: &dyn Display| {
            format!("<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{text}</text>\n")
        };
        let (w, h) = SIZE;
        let mut svg =
            format!("<figure><svg viewBox=\"0 0 {w} {h}\" role=\"img\" aria-label=\"{}\">\n", self.title);
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<polyline class=\"axis\" points=\"{left},{top} {left},{bottom} {right},{bottom}\"/>"
        );
        for tick in axis.ticks() {
            let y = y(tick);
            let _ = writeln!(svg, "<polyline class=\"grid\" points=\"{left},{y:.1} {right},{y:.1}\"/>");
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
                left - 6.0,
                y + 4.0
            );
        }
        for part in [
            text(left, top - 8.0, "start", &self.title),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let ticks = |values: &[f64], logarithmic| Axis::of(values, logarithmic).unwrap().ticks();
        assert_eq!(ticks(&[0.0, 0.006], false), [0.0, 0.002, 0.004, 0.006]);
        assert_eq!(ticks(&[54.9, 99.6], false), [60.0, 70.0, 80.0, 90.0]);
        assert_eq!(ticks(&[1.5, 0.3, 0.4], true), [0.5, 1.0]);
        assert_eq!(ticks(&[100.0, 0.01], true), [0.01, 0.1, 1.0, 10.0, 100.0]);
        assert_eq!(ticks(&[0.31, 0.33], true), [0.31, 0.315, 0.32, 0.325, 0.33]);
        assert_eq!(ticks(&[3.0], true), [2.6, 2.8, 3.0, 3.2, 3.4]);
        assert!(Axis::of(&[], true).is_none());
    }

    #[test]
    fn a_logarithmic_axis_has_room_for_zero() {
        let axis = Axis::of(&[8.0, 0.0, 1.0], true).unwrap();
        assert_eq!([8.0, 2.0, 0.0].map(|value| axis.place(value)), [1.0, 0.5, 0.0]);
    }
}
