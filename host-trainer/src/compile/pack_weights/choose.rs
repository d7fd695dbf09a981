//! Which layers are packed, if not all that can be.
//!
//! A packed layer is at least as fast as a plain one on the processors that it is packed for; it may need scratch memory, and its stream may be longer than
//! the weights and records of the plain one.

use std::cmp::Reverse;

use super::{Layer, Packing, packed};
use crate::compile::arrange::{arena, arrange};
use crate::compile::error::CompileError;
use crate::compile::program::{Program, VirtualStep};

/// Packs the layers that do not make the arena larger than the smallest one found: those with the most multiplications first.
pub(super) fn least_memory(program: Program, packing: Packing) -> Result<Program, CompileError> {
    let bytes = |chosen: &[bool]| -> Result<usize, CompileError> {
        let (_, plan) = arrange(packed(program.clone(), packing, &|step| chosen[step])?)?;
        Ok(arena(&plan))
    };
    let mut layers = layers(&program, packing);
    layers.sort_by_key(|layer| Reverse(layer.multiplications));
    let steps = program.entries.iter().map(|entry| entry.steps.len()).sum();
    let mut chosen = vec![false; steps];
    let mut least = bytes(&chosen)?;
    // What one layer needs may be less when another is packed.
    let mut before = None;
    while before.as_ref() != Some(&chosen) {
        before = Some(chosen.clone());
        for layer in &layers {
            if !chosen[layer.step] {
                chosen[layer.step] = true;
                let found = bytes(&chosen)?;
                chosen[layer.step] = found <= least;
                least = least.min(found);
            }
        }
    }
    packed(program, packing, &|step| chosen[step])
}

/// Packs the layers whose stream is no longer than what it takes the place of.
pub(super) fn least_flash(program: Program, packing: Packing) -> Result<Program, CompileError> {
    let layers = layers(&program, packing);
    let is_short = |step: usize| layers.iter().any(|layer| layer.step == step && layer.added_bytes <= 0);
    packed(program, packing, &is_short)
}

/// A layer that can be packed.
struct Candidate {
    step: usize,
    multiplications: usize,
    /// How much longer its constants get.
    added_bytes: i64,
}

fn layers(program: &Program, packing: Packing) -> Vec<Candidate> {
    let steps = program.entries.iter().flat_map(|entry| &entry.steps).enumerate();
    steps.filter_map(|(index, step)| candidate(program, packing, index, step)).collect()
}

fn candidate(program: &Program, packing: Packing, step: usize, of: &VirtualStep) -> Option<Candidate> {
    let layer = Layer::of(program, of)?;
    let packed = layer.packed(packing)?;
    let added_bytes = 4 * packed.stream.len() as i64 - (layer.filter.len() + 4 * layer.channels.len()) as i64;
    let (output, _) = layer.output;
    let [_, h, w, _] = output.dims();
    Some(Candidate { step, multiplications: layer.filter.len() * h * w, added_bytes })
}
