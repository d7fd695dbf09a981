//! From a [`Graph`] to steps over fixed memory.
//!
//! Each pass is one function in one file, from a graph or a [`Program`] to the same:
//!
//! | pass | from | to |
//! |---|---|---|
//! | [`fold_batch_norm()`] | graph | graph: batch norms become part of the weights before them, or depthwise convolutions of one tap |
//! | [`fold_padding()`] | graph | graph: zeros around an image become padding of the convolutions behind them |
//! | [`remove_dropout()`] | graph | graph: without the layers that only training has |
//! | [`fuse_activation()`] | graph | graph: activations become part of the operators before them |
//! | [`calibrate`] | graph and samples | ranges of its activations |
//! | [`quantize`] | graph and ranges | int8 graph |
//! | [`eliminate_dead_channels()`] | int8 graph | int8 graph: without the channels that nothing needs |
//! | [`weigh_sums()`] | int8 graph | int8 graph: sums as two multiply-adds an element |
//! | [`lower()`] | graph | program: the entry `infer` |
//! | [`pack_weights()`] | program | program: int8 weights in the order in which a processor's kernels read them |
//! | [`differentiate()`] | graph | program: the entries `train`, `update`, `evaluate`, `infer` |
//! | [`group_phases()`] | program | program: steps in as few phases as there can be |
//! | [`recompute()`] | program | program: what later phases read is kept by the chunk, or computed again |
//! | [`rematerialize()`] | program | program: the backward pass of a device computes again what would take too much memory to keep |
//! | [`schedule()`] | program | program: the order and the steps in place that lower the peak |
//! | [`plan_memory()`] | program | [`MemoryPlan`]: an offset for each buffer |
//! | [`assemble()`] | program and plan | [`Assembled`]: what a model file holds |
//!
//! [`compile_inference`] and [`compile_training`] run them all.

mod arrange;
mod assemble;
pub mod calibrate;
mod differentiate;
mod eliminate_dead_channels;
mod error;
mod fold_batch_norm;
mod fold_padding;
mod fuse_activation;
mod index_pools;
mod liveness;
mod lower;
mod mask_activations;
mod overlaps;
mod pack_weights;
mod phases;
mod plan_memory;
mod program;
pub mod quantize;
mod recompute;
mod rematerialize;
mod remove_dropout;
mod repack;
mod schedule;
mod unpack;
mod weigh_sums;

pub(crate) use assemble::write;
pub use assemble::{Assembled, AssembledEntry, NamedOperand, assemble};
pub use differentiate::{
    GradientOptions, Loss, OnDevice, Optimizer, TargetKind, TrainingOptions, differentiate,
};
pub use eliminate_dead_channels::eliminate_dead_channels;
pub use error::CompileError;
pub use fold_batch_norm::fold_batch_norm;
pub use fold_padding::fold_padding;
pub use fuse_activation::fuse_activation;
pub use lower::{LowerOptions, lower};
pub(crate) use pack_weights::Layer;
pub use pack_weights::{
    Code, Costs, LayerShape, Packing, Prefer, TERMS, Terms, UnknownPreference, pack_weights,
};
pub use phases::{group_phases, phases};
pub use plan_memory::{MemoryPlan, SpaceUse, plan_memory};
pub use program::{Buffer, BufferId, Program, VirtualEntry, VirtualStep};
pub use recompute::recompute;
pub use rematerialize::rematerialize;
pub use remove_dropout::remove_dropout;
pub use repack::repack;
pub use schedule::schedule;
pub use unpack::unpack;
pub use weigh_sums::weigh_sums;

use self::arrange::arrange;
use crate::graph::Graph;

/// Compiles `graph` as it is to a program with the entry `infer`.
///
/// # Errors
/// See [`CompileError`].
pub fn compile_inference(graph: &Graph, options: &LowerOptions) -> Result<Assembled, CompileError> {
    let program = lower(&weigh_sums(eliminate_dead_channels(graph.clone())), options)?;
    finish(pack_weights(program, options.packing, options.prefer)?)
}

/// Compiles `graph`, whose batch norms are not folded, to a program with the entries `train`, `update`, `evaluate` and `infer`.
///
/// # Errors
/// See [`CompileError`].
pub fn compile_training(graph: &Graph, options: &TrainingOptions) -> Result<Assembled, CompileError> {
    let graph = fold_padding(fuse_activation(graph.clone()));
    let program = rematerialize(recompute(group_phases(differentiate(&graph, options)?)));
    let device = options.device.unwrap_or_default();
    finish(pack_weights(program, device.packing, device.prefer)?)
}

fn finish(program: Program) -> Result<Assembled, CompileError> {
    let (program, plan) = arrange(program)?;
    assemble(&program, &plan)
}
