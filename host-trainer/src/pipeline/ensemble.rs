//! Snapshot ensembles: the networks at the ends of a schedule's cycles, asked together (Huang et al. 2017, `arXiv:1704.00109`).

use std::thread;

use smidgen::Model;

use super::prepare::inference_file;
use super::{PipelineError, Trained};
use crate::buffer::AlignedBytes;
use crate::data::Dataset;
use crate::train::{LossSum, Teacher};

/// Losses of the ensemble on `test`: those of the mean of its networks' probabilities. `None` if there is no ensemble.
///
/// # Errors
/// See [`PipelineError`].
pub fn measure_ensemble(
    trained: &Trained,
    test: &Dataset,
    threads: usize,
) -> Result<Option<LossSum>, PipelineError> {
    if trained.ensemble.is_empty() {
        return Ok(None);
    }
    let files: Vec<AlignedBytes> =
        trained.ensemble.iter().map(|graph| inference_file(graph.clone())).collect::<Result<_, _>>()?;
    let models =
        files.iter().map(|file| Model::from_bytes(file.as_slice())).collect::<Result<Vec<_>, _>>()?;
    let (inputs, outputs) = (test.sample_len(), test.class_names().len());
    let teacher = Teacher::new(models, inputs, outputs)
        .map_err(|found| PipelineError::Teacher { found, expected: (inputs, outputs) })?;
    let each = test.len().div_ceil(threads.max(1)).max(1);
    let part = |first: usize| {
        let (mut input, mut probabilities) = (vec![0.0; inputs], vec![0.0; outputs]);
        let mut losses = Vec::new();
        for sample in first..(first + each).min(test.len()) {
            trained.normalization.apply(test.image(sample), &mut input);
            teacher.probabilities(&input, &mut probabilities);
            let label = test.label(sample) as usize;
            let greatest =
                (0..outputs).max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]).then(b.cmp(&a)));
            let correct = f64::from(u8::from(greatest == Some(label)));
            losses.push(LossSum { loss: -libm::log(probabilities[label]), correct, samples: 1 });
        }
        losses
    };
    let part = &part;
    let parts: Vec<Vec<LossSum>> = thread::scope(|scope| {
        let parts: Vec<_> =
            (0..test.len()).step_by(each).map(|first| scope.spawn(move || part(first))).collect();
        let join = |part: thread::ScopedJoinHandle<'_, Vec<LossSum>>| {
            part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        parts.into_iter().map(join).collect()
    });
    // In the order of the samples, whatever the threads.
    let mut sum = LossSum::default();
    parts.into_iter().flatten().for_each(|loss| sum.add(loss));
    Ok(Some(sum))
}
