//! Finding what each pixel is.

use super::anomaly::ScoreError;
use super::{Confusion, EvaluateError, Interface, run_in_parts};
use crate::compile::quantize::pixel_classes;
use crate::data::Dataset;
use crate::device::{Device, Report};

/// The classes of all pixels of all samples, `[N, H, W]`, by a model that finds masks, and what the device reports.
///
/// # Errors
/// [`EvaluateError::NoMasks`] and what else keeps the model from being measured on these data; what the device says.
pub fn segment(
    device: &Device,
    file: &[u8],
    data: &Dataset,
    threads: usize,
) -> Result<(Vec<usize>, Report), ScoreError> {
    let interface = Interface::of_file(file)?;
    let inputs = interface.samples(data)?;
    let [height, width, _] = data.shape();
    let (pixels, outputs) = (height * width, interface.output_elements());
    if outputs == 0 || outputs % pixels != 0 {
        return Err(EvaluateError::NoMasks { outputs, pixels }.into());
    }
    let run_bytes = interface.input.bytes().unwrap_or(0);
    let report = run_in_parts(device, file, &inputs, run_bytes, threads)?;
    let real = interface.real_outputs(&report.outputs);
    let classes = pixel_classes(&real, pixels * data.len(), 0.0).collect();
    Ok((classes, report))
}

/// Which pixels are taken for what.
pub fn pixel_confusion(classes: &[usize], data: &Dataset) -> Confusion {
    let labels: Vec<u32> =
        (0..data.len()).filter_map(|index| data.mask(index)).flatten().map(|&class| class.into()).collect();
    Confusion::of(classes, &labels, data.class_names().len())
}

impl Confusion {
    /// Of each class, how much of what is it or is taken for it is both: intersection over union. Nothing for a class that is neither.
    pub fn intersections_over_unions(&self) -> Vec<Option<f64>> {
        let of_class = |class: usize| {
            let own = self.counts[class][class];
            let is: usize = self.counts[class].iter().sum();
            let taken: usize = self.counts.iter().map(|row| row[class]).sum();
            let either = is + taken - own;
            (either > 0).then(|| own as f64 / either as f64)
        };
        (0..self.counts.len()).map(of_class).collect()
    }

    /// The mean of them, of the classes that are there.
    pub fn mean_iou(&self) -> f64 {
        let there: Vec<f64> = self.intersections_over_unions().into_iter().flatten().collect();
        there.iter().sum::<f64>() / there.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intersections_are_shares_of_unions() {
        let confusion = Confusion { counts: vec![vec![6, 2, 0], vec![1, 3, 0], vec![0, 0, 0]] };
        assert_eq!(confusion.intersections_over_unions(), [Some(6.0 / 9.0), Some(3.0 / 6.0), None]);
        assert!((confusion.mean_iou() - 7.0 / 12.0).abs() < 1e-12);
    }
}
