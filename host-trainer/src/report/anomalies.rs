//! Scores of what is normal and of anomalies.

use crate::evaluate::anomaly::{Decision, Scores};

const SIZE: (f64, f64) = (800.0, 220.0);
const MARGIN: (f64, f64) = (16.0, 24.0);
const BINS: usize = 60;

/// How often which score comes, of normal samples and of anomalies, on a logarithmic axis, and the threshold.
pub(super) fn histogram(scores: &Scores, threshold: f32) -> String {
    let logarithm = |score: f32| libm::log10(f64::from(score).max(1e-12));
    let all =
        || scores.normal.iter().chain(&scores.anomalous).chain([&threshold]).map(|&score| logarithm(score));
    let (low, high) =
        all().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    if !(low.is_finite() && high.is_finite()) {
        return "<p>There are no scores.</p>\n".to_owned();
    }
    let span = (high - low).max(1e-9);
    let counts = |scores: &[f32]| {
        let mut counts = [0_usize; BINS];
        for &score in scores {
            counts[(((logarithm(score) - low) / span * BINS as f64) as usize).min(BINS - 1)] += 1;
        }
        counts
    };
    let (left, right, top, bottom) = (MARGIN.0, SIZE.0 - MARGIN.0, MARGIN.1, SIZE.1 - MARGIN.1);
    let width = (right - left) / BINS as f64;
    let bars = |class: &str, scores: &[f32]| -> String {
        let counts = counts(scores);
        let most = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
        let bar = |(bin, &count): (usize, &usize)| {
            let height = (bottom - top) * count as f64 / most;
            let (x, y) = (left + width * bin as f64, bottom - height);
            format!(
                "<rect class=\"{class} clear\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"></rect>\n"
            )
        };
        counts.iter().enumerate().filter(|&(_, &count)| count > 0).map(bar).collect()
    };
    let place = left + (right - left) * (logarithm(threshold) - low) / span;
    let (w, h) = SIZE;
    let text = |x: f64, anchor: &str, text: &str| {
        format!("<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{text}</text>\n", bottom + 16.0)
    };
    format!(
        "<p><i class=\"one\">▮ normal</i> <i class=\"two\">▮ anomalies</i>, each as a share of its most frequent score; the line is the threshold.</p>\n\
         <figure><svg viewBox=\"0 0 {w} {h}\" role=\"img\" aria-label=\"Scores\">\n{}{}\
         <polyline class=\"mark\" points=\"{place:.1},{top} {place:.1},{bottom}\"></polyline>\n\
         <polyline class=\"axis\" points=\"{left},{bottom} {right},{bottom}\"></polyline>\n{}{}{}</svg></figure>\n",
        bars("one", &scores.normal),
        bars("two", &scores.anomalous),
        text(left, "start", &format!("{:.2e}", libm::exp10(low))),
        text(right, "end", &format!("{:.2e}", libm::exp10(high))),
        text(place, "middle", &format!("{threshold:.3}")),
    )
}

/// What the threshold makes of the test set, in words.
pub(super) fn decision(decision: &Decision) -> String {
    let Decision { threshold, detected, anomalous, false_alarms, normal } = *decision;
    let percent = |part: usize, all: usize| 100.0 * part as f64 / all.max(1) as f64;
    let found = match anomalous {
        0 => String::new(),
        _ => format!("{:.1} % of {anomalous} anomalies are above, ", percent(detected, anomalous)),
    };
    format!("{threshold:.4}: {found}{:.1} % of {normal} normal samples", percent(false_alarms, normal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stand_where_the_scores_are() {
        let scores = Scores { normal: vec![0.01, 0.01, 0.1], anomalous: vec![1.0] };
        let svg = histogram(&scores, 0.1);
        assert_eq!(
            (svg.matches("\"one clear\" x=").count(), svg.matches("\"two clear\" x=").count()),
            (2, 1),
            "{svg}"
        );
        assert!(svg.contains("1.00e-2") && svg.contains("1.00e0") && svg.contains(">0.100<"), "{svg}");
        // Half way on the logarithmic axis.
        assert!(svg.contains("points=\"400.0,24"), "{svg}");
        assert!(!histogram(&Scores::default(), 0.5).contains("NaN"));
    }

    #[test]
    fn a_decision_says_what_it_costs() {
        let scores = Scores { normal: vec![1.0, 2.0], anomalous: vec![2.0, 3.0] };
        assert_eq!(
            decision(&scores.decide(1.5)),
            "1.5000: 100.0 % of 2 anomalies are above, 50.0 % of 2 normal samples"
        );
    }
}
