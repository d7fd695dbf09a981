//! Samples in, features out.

use core::cell::Cell;

use super::config::{Audio, AudioConfig, Detrend, FrontEndError};
use super::fft::{place, power_spectrum};
use super::tables::{Tables, Work, fill};
use crate::kernels;

/// The front end of a model that listens, in the caller's memory.
#[derive(Debug)]
pub struct FrontEnd<'m> {
    config: AudioConfig,
    tables: Tables<'m>,
    work: Work<'m>,
    first_bin: usize,
    /// Samples of the present frame that are there.
    filled: usize,
}

impl<'m> FrontEnd<'m> {
    /// A front end in `memory`, of [`AudioConfig::memory_bytes`] bytes at a multiple of 4.
    ///
    /// # Errors
    /// See [`FrontEndError`].
    pub fn new(audio: &Audio<'_>, memory: &'m mut [u8]) -> Result<Self, FrontEndError> {
        let (tables, work, first_bin) = fill(audio, memory)?;
        Ok(Self { config: audio.config, tables, work, first_bin, filled: 0 })
    }

    /// What it computes.
    pub fn config(&self) -> &AudioConfig {
        &self.config
    }

    /// Forgets all samples.
    pub fn reset(&mut self) {
        self.filled = 0;
    }

    /// Takes samples until a frame is complete, and returns the samples that are left; `None` if all were taken and no frame is complete.
    ///
    /// [`features`](Self::features) are those of the complete frame until the next call.
    pub fn push<'s>(&mut self, samples: &'s [i16]) -> Option<&'s [i16]> {
        let history = &mut *self.work.history;
        if self.filled >= history.len() {
            // What the next frame has in common with this one goes to its beginning.
            let hop = self.config.step_samples();
            let cells = Cell::from_mut(&mut *history).as_slice_of_cells();
            for (to, from) in cells.iter().zip(cells.get(hop..).unwrap_or_default()) {
                to.set(from.get());
            }
            self.filled = history.len().saturating_sub(hop);
        }
        let room = history.get_mut(self.filled..)?;
        let count = room.len().min(samples.len());
        for (to, &from) in room.iter_mut().zip(samples) {
            *to = from;
        }
        self.filled += count;
        if self.filled < self.work.history.len() {
            return None;
        }
        samples.get(count..)
    }

    /// The features of the frame that [`push`](Self::push) completed last, normalized: [`AudioConfig::channels`] numbers.
    pub fn features(&mut self) -> &[f32] {
        compute(&self.config, &self.tables, &mut self.work, self.first_bin);
        self.work.output
    }

    /// The features of a frame by itself, of [`AudioConfig::frame_samples`] samples; missing ones are silence. Samples pushed before are forgotten.
    pub fn frame(&mut self, samples: &[i16]) -> &[f32] {
        let samples = samples.iter().copied().chain(core::iter::repeat(0));
        for (to, from) in self.work.history.iter_mut().zip(samples) {
            *to = from;
        }
        self.filled = 0;
        self.features()
    }
}

/// The features of the samples in `work.history`, into `work.output`.
fn compute(config: &AudioConfig, tables: &Tables<'_>, work: &mut Work<'_>, first_bin: usize) {
    let mut outputs = &mut *work.output;
    for axis in 0..config.axes as usize {
        let Some((mut output, rest)) = outputs.split_at_mut_checked(config.axis_channels()) else { break };
        outputs = rest;
        if config.axes == 1 && config.detrend == Detrend::None && !config.rms {
            let pairs = work.history.as_chunks::<2>().0.iter();
            let pairs = pairs.map(|&[even, odd]| [f32::from(even), f32::from(odd)]);
            load(config.pre_emphasis, tables.window, pairs, work.spectrum);
        } else {
            let samples = work.history.iter().skip(axis).step_by(config.axes as usize);
            let samples = samples.map(|&sample| f32::from(sample));
            let [height, slope] = trend(config.detrend, samples.clone());
            let mut rest = samples.zip(0_u32..).map(|(x, n)| x - (height + slope * n as f32));
            if config.rms {
                let Some((rms, filters)) = output.split_first_mut() else { break };
                let sum = rest.clone().fold(0.0, |sum, x| sum + x * x);
                *rms = kernels::sqrt(sum / config.window_samples as f32) / 32_768.0;
                output = filters;
            }
            let pairs = core::iter::from_fn(|| Some([rest.next()?, rest.next()?]));
            load(config.pre_emphasis, tables.window, pairs, work.spectrum);
        }
        power_spectrum(work.spectrum, tables.twiddles, tables.split);
        filter(first_bin, tables, work.spectrum, work.row);
        for energy in work.row.iter_mut() {
            *energy = libm::logf(*energy + config.floor);
        }
        if tables.cosines.is_empty() {
            for (output, &value) in output.iter_mut().zip(&*work.row) {
                *output = value;
            }
        } else {
            let mut rest = tables.cosines;
            for output in output.iter_mut() {
                let Some((cosines, after)) = rest.split_at_checked(work.row.len()) else { break };
                *output =
                    cosines.iter().zip(&*work.row).fold(0.0, |sum, (cosine, value)| sum + cosine * value);
                rest = after;
            }
        }
    }
    for (value, [mean, scale]) in work.output.iter_mut().zip(tables.normalization.as_chunks::<2>().0) {
        *value = (*value - mean) * scale;
    }
}

/// Height at the first sample and slope of what is to be taken away from samples `x[0..n]`.
///
/// The line of least squares has the slope `sum (t - m) x[t] / sum (t - m)^2` with `m = (n - 1) / 2`, where the lower sum is `n (n^2 - 1) / 12`, and goes through the mean at
/// `m`.
fn trend(detrend: Detrend, samples: impl Iterator<Item = f32> + Clone) -> [f32; 2] {
    if detrend == Detrend::None {
        return [0.0; 2];
    }
    let (count, sum) = samples.clone().fold((0.0, 0.0), |(count, sum), x| (count + 1.0, sum + x));
    let mean = sum / count;
    if detrend == Detrend::Mean {
        return [mean, 0.0];
    }
    let middle = (count - 1.0) / 2.0;
    let (_, moment) = samples.fold((-middle, 0.0), |(t, moment), x| (t + 1.0, moment + t * x));
    let slope = moment / (count * (count * count - 1.0) / 12.0);
    [mean - slope * middle, slope]
}

/// Samples with pre-emphasis and window, pair by pair where the transform wants them.
fn load(pre_emphasis: f32, window: &[f32], samples: impl Iterator<Item = [f32; 2]>, spectrum: &mut [f32]) {
    let pairs = spectrum.as_chunks_mut::<2>().0;
    if window.len() < 2 * pairs.len() {
        pairs.fill([0.0; 2]);
    }
    let bits = pairs.len().trailing_zeros();
    let mut previous = None;
    for (index, ([even, odd], weights)) in (0..).zip(samples.zip(window.as_chunks::<2>().0)) {
        let previous = previous.replace(odd).unwrap_or(even);
        let pair = [(even - pre_emphasis * previous) * weights[0], (odd - pre_emphasis * even) * weights[1]];
        if let Some(place) = pairs.get_mut(place(index, bits)) {
            *place = pair;
        }
    }
}

/// Energies of the triangular filters: a bin between two centres belongs to the upper one by its rise and to the lower one by the rest.
fn filter(first_bin: usize, tables: &Tables<'_>, spectrum: &[f32], energies: &mut [f32]) {
    let bins = spectrum.as_chunks::<2>().0.iter().map(|pair| pair[0]);
    let last = spectrum.get(1).copied();
    let mut bins = bins.chain(last).skip(first_bin).zip(tables.rises);
    let mut energies = energies.iter_mut();
    // What the filter whose centre was passed last has so far; before the first centre there is none.
    let mut lower: Option<f32> = None;
    for &count in tables.segments {
        let (mut rising, mut falling) = (0.0, 0.0);
        for (power, rise) in bins.by_ref().take(usize::from(count)) {
            let part = power * rise;
            rising += part;
            // Not negative, because a rounded product with a factor of at most 1 is not above the other.
            falling += power - part;
        }
        if let Some(lower) = lower {
            let Some(energy) = energies.next() else { break };
            *energy = lower + falling;
        }
        lower = Some(rising);
    }
}
