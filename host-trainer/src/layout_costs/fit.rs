//! Coefficients from counts.

use std::collections::BTreeMap;

use super::Sample;
use crate::compile::TERMS;

/// Rounds over all coefficients; far more than it takes until none moves.
const ROUNDS: usize = 50_000;

/// For each layout, the coefficients, none of them negative, with which the sum of the squares of the relative errors is least; those that are 0 are left out.
///
/// One coefficient after another is set to what is best with the others as they are.
pub fn fit(samples: &[Sample]) -> BTreeMap<String, BTreeMap<String, f64>> {
    let mut layouts: BTreeMap<String, Vec<Vec<f64>>> = BTreeMap::new();
    for sample in samples {
        // Of each sample, the share of a unit of each coefficient.
        let row = sample.terms.iter().map(|term| term / sample.instructions.max(1.0)).collect();
        layouts.entry(sample.operator.name().to_owned()).or_default().push(row);
    }
    layouts.into_iter().map(|(layout, rows)| (layout, coefficients(&rows))).collect()
}

fn coefficients(rows: &[Vec<f64>]) -> BTreeMap<String, f64> {
    let column = |term: usize| rows.iter().map(move |row| row[term]);
    let dot = |a: usize, b: usize| column(a).zip(column(b)).map(|(a, b)| a * b).sum::<f64>();
    let count = TERMS.len();
    let products: Vec<Vec<f64>> = (0..count).map(|a| (0..count).map(|b| dot(a, b)).collect()).collect();
    let sums: Vec<f64> = (0..count).map(|term| column(term).sum()).collect();
    let mut found = vec![0.0; count];
    for _ in 0..ROUNDS {
        for term in 0..count {
            let square = products[term][term];
            if square > 0.0 {
                let others: f64 =
                    products[term].iter().zip(&found).map(|(a, b)| a * b).sum::<f64>() - square * found[term];
                found[term] = ((sums[term] - others) / square).max(0.0);
            }
        }
    }
    // Four digits are more than the fit is good for.
    let rounded = |value: f64| format!("{value:.3}").parse().unwrap_or(value);
    let named = TERMS.iter().zip(found).map(|(&name, value)| (name.to_owned(), rounded(value)));
    named.filter(|(_, value)| *value > 0.0).collect()
}

#[cfg(test)]
mod tests {
    use smidgen::Operator;

    use super::*;

    #[test]
    fn finds_the_coefficients_of_exact_counts() {
        let samples: Vec<Sample> = (1..12)
            .map(|index| {
                let mut terms = [0.0; TERMS.len()];
                (terms[0], terms[2], terms[6]) = (1.0, f64::from(index * index % 7), f64::from(index * 3));
                let instructions = 50.0 * terms[0] + 2.5 * terms[2] + 8.0 * terms[6];
                Sample { name: String::new(), operator: Operator::Conv2dPairsI8, terms, instructions }
            })
            .collect();
        let found = &fit(&samples)["conv_2d_pairs_i8"];
        let expected = [("call", 50.0), ("element", 2.5), ("round", 8.0)];
        assert_eq!(found.len(), expected.len());
        for (name, value) in expected {
            assert!((found[name] - value).abs() < 0.01, "{name}: {found:?}");
        }
    }
}
