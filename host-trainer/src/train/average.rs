//! Averages of the weights over training.

use std::ops::Range;

use super::checkpoint::Snapshot;
use super::executor::{Driver, Executor, ExecutorError};
use crate::compile::Assembled;
use crate::graph::{Graph, GraphOp, RangeSource};
use crate::recipe::{Averaging, AveragingKind};

/// Batches over which running statistics are measured again.
const BATCHES: usize = 50;

/// What follows the batches without being trained, in the state: the running statistics of a batch norm, or the averaged range of an activation.
#[derive(Debug, Clone, PartialEq)]
pub struct RunningTensor {
    bytes: Range<usize>,
    /// A batch's share of running statistics, which can be measured from it alone; nothing for a range, which the batch is computed with.
    momentum: Option<f32>,
}

/// All such tensors of a training program.
pub fn running_tensors(graph: &Graph, program: &Assembled) -> Vec<RunningTensor> {
    let mut found: Vec<RunningTensor> = Vec::new();
    for node in &graph.nodes {
        let (id, momentum) = match (&node.op, node.inputs.as_slice()) {
            (&GraphOp::BatchNorm { momentum, .. }, &[_, _, id, ..]) => (id, Some(momentum)),
            (GraphOp::FakeQuantize { range: RangeSource::Averaged { .. } }, &[_, id, ..]) => (id, None),
            _ => continue,
        };
        let place = program.tensor(&graph.tensor(id).name).and_then(smidgen::Operand::range);
        found.extend(place.map(|(start, end)| RunningTensor { bytes: start..end, momentum }));
    }
    found
}

/// An average of the weights, as far as training has come.
#[derive(Debug)]
pub(super) struct Averager {
    settings: Averaging,
    running: Vec<RunningTensor>,
    /// The average; its state is the present one but for the running statistics.
    pub(super) average: Snapshot,
    /// How many weights are in the average.
    pub(super) count: u64,
}

impl Averager {
    /// An average that begins with the executor's weights; `None` if the recipe wants none.
    pub(super) fn new(
        settings: &Averaging,
        running: &[RunningTensor],
        executor: &Executor<'_>,
    ) -> Option<Self> {
        (settings.kind != AveragingKind::None).then(|| Self {
            settings: settings.clone(),
            running: running.to_vec(),
            average: executor.snapshot(),
            count: 0,
        })
    }

    /// After each step.
    pub(super) fn step(&mut self, executor: &Executor<'_>) {
        if self.settings.kind == AveragingKind::Exponential {
            let early = (1.0 + self.count as f32) / (10.0 + self.count as f32);
            self.towards(executor, 1.0 - self.settings.decay.min(early));
        }
    }

    /// After each epoch, counted from 0. `samples` are some to measure running statistics with.
    pub(super) fn epoch(
        &mut self,
        epoch: u32,
        driver: &mut Driver<'_, '_>,
        samples: &[u32],
    ) -> Result<(), ExecutorError> {
        if self.settings.kind == AveragingKind::Stochastic {
            if epoch <= self.settings.start_epoch {
                self.count = 0;
            }
            self.towards(driver.executor(), 1.0 / (self.count as f32 + 1.0));
            self.measure(epoch, driver, samples)?;
        }
        Ok(())
    }

    /// Moves the average by `share` of the way to the present weights.
    fn towards(&mut self, executor: &Executor<'_>, share: f32) {
        let (parameter, state) = &mut self.average;
        executor.with_memory(|present, present_state| {
            blend(parameter.as_mut_slice(), present, share);
            for RunningTensor { bytes, .. } in &self.running {
                blend(&mut state.as_mut_slice()[bytes.clone()], &present_state[bytes.clone()], share);
            }
        });
        self.count += 1;
    }

    /// Measures the running statistics of the averaged weights: the mean of the batches' own, as `torch.optim.swa_utils.update_bn` does.
    fn measure(
        &mut self,
        epoch: u32,
        driver: &mut Driver<'_, '_>,
        samples: &[u32],
    ) -> Result<(), ExecutorError> {
        let statistics: Vec<(&RunningTensor, f32)> =
            self.running.iter().filter_map(|running| Some((running, running.momentum?))).collect();
        if statistics.is_empty() {
            return Ok(());
        }
        let executor = driver.executor();
        let present = executor.snapshot();
        executor.restore(&self.average)?;
        let mut sums: Vec<Vec<f64>> =
            statistics.iter().map(|(running, _)| vec![0.0; running.bytes.len() / 4]).collect();
        let mut batches = 0;
        for batch in samples.chunks_exact(executor.batch_samples()).take(BATCHES) {
            // From zeros, what a batch leaves is `momentum` times its own statistics.
            executor.with_state_mut(|state| {
                statistics.iter().for_each(|(running, _)| state[running.bytes.clone()].fill(0));
            });
            driver.gradients(epoch, batch)?;
            executor.with_memory(|_, state| {
                for (sums, (running, momentum)) in sums.iter_mut().zip(&statistics) {
                    for (sum, value) in sums.iter_mut().zip(floats(&state[running.bytes.clone()])) {
                        *sum += f64::from(value / momentum);
                    }
                }
            });
            batches += 1;
        }
        for (sums, (running, _)) in sums.iter().zip(&statistics) {
            // A frozen batch norm leaves zeros: its statistics stay.
            if batches > 0 && sums.iter().any(|&sum| sum != 0.0) {
                let place = &mut self.average.1.as_mut_slice()[running.bytes.clone()];
                for (bytes, sum) in place.as_chunks_mut::<4>().0.iter_mut().zip(sums) {
                    *bytes = ((sum / f64::from(batches)) as f32).to_le_bytes();
                }
            }
        }
        executor.restore(&present)
    }
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes))
}

/// `average += share * (present - average)`, element by element.
fn blend(average: &mut [u8], present: &[u8], share: f32) {
    for (bytes, present) in average.as_chunks_mut::<4>().0.iter_mut().zip(floats(present)) {
        let average = f32::from_le_bytes(*bytes);
        *bytes = (average + share * (present - average)).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blending_is_a_mean_of_what_came() {
        let bytes = |value: f32| value.to_le_bytes().to_vec();
        let mut average = bytes(7.0);
        for (count, value) in [1.0_f32, 2.0, 6.0].into_iter().enumerate() {
            blend(&mut average, &bytes(value), 1.0 / (count as f32 + 1.0));
        }
        assert_eq!(average, bytes(3.0));
    }
}
