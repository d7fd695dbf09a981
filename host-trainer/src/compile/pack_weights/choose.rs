//! Which way each layer is computed in.
//!
//! What a layer costs by itself is a number of the [`Way`]; the code of a layout is there once for all layers that have it. So all sets of layouts are looked at that a network could
//! have: there are at most a few thousand.

use super::{Costs, Way};
use crate::compile::arrange::{arena, arrange};
use crate::compile::error::CompileError;
use crate::compile::program::Program;

/// The share of the instructions that a shorter image may cost, where the fewest instructions are wanted: as much as comes and goes with a version of the compiler.
const GIVEN_FOR_BYTES: f64 = 0.002;

/// The ways that take the fewest instructions, or at most [`GIVEN_FOR_BYTES`] more with fewer bytes.
pub(super) fn fastest(layers: &[Vec<Way>], costs: &Costs) -> Vec<usize> {
    let sets = sets(layers, costs, |way| (way.instructions, way.bytes as f64));
    let least = sets.iter().map(|set| set.instructions).fold(f64::INFINITY, f64::min);
    let enough = sets.into_iter().filter(|set| set.instructions <= least * (1.0 + GIVEN_FOR_BYTES));
    first(enough, |set| (set.bytes, set.instructions))
}

/// The ways that take the fewest bytes of constants and code, and of those with as many the fewest instructions.
pub(super) fn shortest(layers: &[Vec<Way>], costs: &Costs) -> Vec<usize> {
    let sets = sets(layers, costs, |way| (way.bytes as f64, way.instructions));
    first(sets.into_iter(), |set| (set.bytes, set.instructions))
}

/// The ways that take the fewest instructions without making the arena larger than the smallest one found. `with` gives the program with these ways.
pub(super) fn least_memory(
    layers: &[Vec<Way>],
    with: impl Fn(&[usize]) -> Result<Program, CompileError>,
) -> Result<Vec<usize>, CompileError> {
    let bytes = |chosen: &[usize]| Ok::<_, CompileError>(arena(&arrange(with(chosen)?)?.1));
    let mut chosen = vec![0; layers.len()];
    let mut least = bytes(&chosen)?;
    let gain = |ways: &[Way]| {
        let least = ways.iter().map(|way| way.instructions).fold(f64::INFINITY, f64::min);
        ways.first().map_or(0.0, |plain| plain.instructions - least)
    };
    let mut order: Vec<usize> = (0..layers.len()).collect();
    order.sort_by(|&a, &b| gain(&layers[b]).total_cmp(&gain(&layers[a])));
    // What one layer needs may be less when another is packed.
    let mut before = None;
    while before.as_ref() != Some(&chosen) {
        before = Some(chosen.clone());
        for &layer in &order {
            let (ways, kept) = (&layers[layer], chosen[layer]);
            let mut faster: Vec<usize> =
                (0..ways.len()).filter(|&way| ways[way].instructions < ways[kept].instructions).collect();
            faster.sort_by(|&a, &b| ways[a].instructions.total_cmp(&ways[b].instructions));
            for way in faster {
                chosen[layer] = way;
                let found = bytes(&chosen)?;
                if found <= least {
                    least = found;
                    break;
                }
                chosen[layer] = kept;
            }
        }
    }
    Ok(chosen)
}

/// The best ways with a set of layouts, and what they cost together.
struct Set {
    chosen: Vec<usize>,
    instructions: f64,
    /// Of constants and code.
    bytes: usize,
}

/// For each set of layouts that all layers can do with, the way of each layer whose `key` is least.
fn sets(layers: &[Vec<Way>], costs: &Costs, key: impl Fn(&Way) -> (f64, f64)) -> Vec<Set> {
    let mut operators: Vec<_> = layers.iter().flatten().map(|way| way.operator).collect();
    operators.sort_by_key(|&operator| operator as u8);
    operators.dedup();
    let place = |way: &Way| operators.iter().position(|&operator| operator == way.operator).unwrap_or(0);
    let set = |set: u32| {
        let mut found = Set { chosen: Vec::new(), instructions: 0.0, bytes: 0 };
        let mut used = 0u32;
        for ways in layers {
            let allowed = ways.iter().enumerate().filter(|(_, way)| set >> place(way) & 1 == 1);
            let (index, way) = allowed.min_by(|(_, a), (_, b)| {
                let ((a, a_next), (b, b_next)) = (key(a), key(b));
                a.total_cmp(&b).then(a_next.total_cmp(&b_next))
            })?;
            found.chosen.push(index);
            found.instructions += way.instructions;
            found.bytes += way.bytes;
            used |= 1 << place(way);
        }
        let has = |name: &str| {
            operators.iter().enumerate().any(|(place, op)| used >> place & 1 == 1 && op.name() == name)
        };
        found.bytes += costs.code_bytes(has);
        Some(found)
    };
    (0..1u32 << operators.len()).filter_map(set).collect()
}

/// The ways of the set whose `key` is least.
fn first(sets: impl Iterator<Item = Set>, key: impl Fn(&Set) -> (usize, f64)) -> Vec<usize> {
    let best = sets.min_by(|a, b| {
        let ((a, a_next), (b, b_next)) = (key(a), key(b));
        a.cmp(&b).then(a_next.total_cmp(&b_next))
    });
    best.map(|set| set.chosen).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use smidgen::Operator;

    use super::super::Code;
    use super::*;

    const SLOW: Operator = Operator::FullyConnectedPairsI8;
    const FAST: Operator = Operator::FullyConnectedDoublePairsI8;

    /// Two layers: plain, in a layout, and in one that saves so many instructions of the second layer and has longer constants.
    fn layers(saved: f64) -> [Vec<Way>; 2] {
        let way = |operator, instructions, bytes| Way { operator, instructions, bytes, packed: None };
        let layer = |saved| {
            vec![
                way(Operator::FullyConnectedI8, 90_000.0, 100),
                way(SLOW, 10_000.0, 110),
                way(FAST, 10_000.0 - saved, 120),
            ]
        };
        [layer(1.0), layer(saved)]
    }

    fn costs(plain: usize, slow: usize, fast: usize) -> Costs {
        let code = [(Operator::FullyConnectedI8, plain), (SLOW, slow), (FAST, fast)]
            .map(|(operator, bytes)| Code { bytes, layouts: vec![operator.name().to_owned()] });
        Costs { code: code.into(), ..Costs::default() }
    }

    #[test]
    fn code_that_saves_next_to_nothing_is_not_linked() {
        let costs = costs(500, 500, 600);
        assert_eq!(fastest(&layers(10.0), &costs), [1, 1]);
        assert_eq!(fastest(&layers(50.0), &costs), [2, 2], "and then it serves all layers");
    }

    #[test]
    fn the_shortest_counts_constants_and_code() {
        assert_eq!(shortest(&layers(30.0), &costs(500, 500, 600)), [0, 0]);
        assert_eq!(shortest(&layers(30.0), &costs(500, 470, 600)), [1, 1]);
        // Of as many bytes, the fewer instructions.
        assert_eq!(shortest(&layers(30.0), &costs(500, 480, 460)), [2, 2]);
    }

    #[test]
    fn a_layer_that_no_layout_holds_stays_plain() {
        let mut layers = layers(30.0);
        layers[1].truncate(1);
        assert_eq!(fastest(&layers, &costs(500, 500, 100)), [2, 0]);
    }
}
