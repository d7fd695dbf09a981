//! A front end's memory, cut into its parts, and the tables in it.

use core::num::NonZeroU32;

use bytemuck::try_cast_slice_mut;

use super::config::{Audio, AudioConfig, FrontEndError, Spacing, WindowShape};
use super::fft::{fill_split, fill_twiddles};
use super::turn::cosine_of_turn;
use crate::kernels;

/// The parts of a front end's memory.
#[derive(Debug)]
pub(super) struct Tables<'m> {
    /// Weight of each sample, which brings it into `-1.0..1.0`, too.
    pub(super) window: &'m [f32],
    pub(super) twiddles: &'m [f32],
    pub(super) split: &'m [f32],
    /// For each bin within the filters, how far it is from one centre to the next, 0 to 1.
    pub(super) rises: &'m [f32],
    /// How many bins lie between two neighbouring centres (or ends).
    pub(super) segments: &'m [u16],
    /// The discrete cosine transform, one coefficient after another; empty if it is not wanted.
    pub(super) cosines: &'m [f32],
    /// Mean and scale of each channel.
    pub(super) normalization: &'m [f32],
}

/// What a frame is computed in.
#[derive(Debug)]
pub(super) struct Work<'m> {
    /// Pairs of samples, then powers.
    pub(super) spectrum: &'m mut [f32],
    /// Logarithms of the filters' energies.
    pub(super) row: &'m mut [f32],
    /// The features.
    pub(super) output: &'m mut [f32],
    /// The samples of the present frame.
    pub(super) history: &'m mut [i16],
}

/// `1127 * ln(1 + f / 700)`.
fn mel(hz: f32) -> f32 {
    1127.0 * libm::logf(1.0 + hz / 700.0)
}

/// Cuts `memory` and fills the tables. Returns with them the first bin that is within the filters.
pub(super) fn fill<'m>(
    audio: &Audio<'_>,
    memory: &'m mut [u8],
) -> Result<(Tables<'m>, Work<'m>, usize), FrontEndError> {
    audio.check()?;
    let config = &audio.config;
    let expected = config.memory_bytes() as usize;
    let error = FrontEndError::Memory { expected, found: memory.len() };
    let memory = memory.get_mut(..expected).ok_or(error)?;
    let lengths = config.lengths();
    let (small, large) =
        memory.split_at_mut_checked((lengths.segments + lengths.history) * 2).ok_or(error)?;
    let small = try_cast_slice_mut::<u8, i16>(small).map_err(|_| error)?;
    let (segments, history) = small.split_at_mut_checked(lengths.segments).ok_or(error)?;
    let segments = try_cast_slice_mut::<i16, u16>(segments).map_err(|_| error)?;
    let mut large = try_cast_slice_mut::<u8, f32>(large).map_err(|_| error)?;
    let mut cut = |length: usize| {
        let (part, rest) = core::mem::take(&mut large).split_at_mut_checked(length).ok_or(error)?;
        large = rest;
        Ok(part)
    };
    let (window, twiddles, split) = (cut(lengths.window)?, cut(lengths.twiddles)?, cut(lengths.split)?);
    let (rises, cosines) = (cut(lengths.rises)?, cut(lengths.cosines)?);
    let (normalization, spectrum) = (cut(lengths.normalization)?, cut(lengths.spectrum)?);
    let (row, output) = (cut(lengths.row)?, cut(lengths.output)?);

    fill_window(config.window, window);
    fill_twiddles(config.fft_length, twiddles);
    fill_split(config.fft_length, split);
    let first_bin = fill_filters(config, rises, segments);
    fill_cosines(config.mels, cosines);
    if audio.normalization.is_empty() {
        for channel in normalization.as_chunks_mut::<2>().0 {
            *channel = [0.0, 1.0];
        }
    } else {
        for (number, value) in normalization.iter_mut().zip(audio.numbers()) {
            *number = value;
        }
    }
    let tables = Tables { window, twiddles, split, rises, segments, cosines, normalization };
    Ok((tables, Work { spectrum, row, output, history }, first_bin))
}

fn fill_window(shape: WindowShape, window: &mut [f32]) {
    let Some(length) = NonZeroU32::new(window.len() as u32) else { return };
    let (base, amplitude) = match shape {
        WindowShape::Hann => (0.5, 0.5),
        WindowShape::Hamming => (0.54, 0.46),
        WindowShape::Rectangular => (1.0, 0.0),
    };
    for (n, weight) in (0..).zip(window) {
        *weight = (base - amplitude * cosine_of_turn(n, length)) / 32_768.0;
    }
}

/// Where a frequency lies between the filters, in a unit that they are evenly spaced in.
fn place(spacing: Spacing, hz: f32) -> f32 {
    match spacing {
        Spacing::Mel => mel(hz),
        Spacing::Linear => hz,
    }
}

/// Fills the rises of the bins between the first and the last centre, and how many there are in each segment. Returns the first of these bins.
fn fill_filters(config: &AudioConfig, rises: &mut [f32], segments: &mut [u16]) -> usize {
    let AudioConfig { sample_rate, fft_length, low_hz, high_hz, mels, spacing, .. } = *config;
    let low = place(spacing, low_hz);
    // Segments from the lower end to the first centre, from centre to centre, and from the last to the upper end.
    let step = (place(spacing, high_hz) - low) / (mels + 1) as f32;
    segments.fill(0);
    let mut rises = rises.iter_mut();
    let mut first_bin = None;
    for bin in 0..=fft_length / 2 {
        // Both factors are exact in f32 unless the rate is odd and the bin high; the same everywhere in any case.
        let hz = bin as f32 * sample_rate as f32 / fft_length as f32;
        if hz < low_hz || hz >= high_hz {
            continue;
        }
        let position = (place(spacing, hz) - low) / step;
        // A float to int cast saturates, and position is at least 0 but for rounding.
        let segment = (position as u32).min(mels);
        let rise = (position - segment as f32).clamp(0.0, 1.0);
        if let (Some(place), Some(count)) = (rises.next(), segments.get_mut(segment as usize)) {
            *place = rise;
            *count += 1;
            first_bin.get_or_insert(bin as usize);
        }
    }
    first_bin.unwrap_or(0)
}

/// Row `k` is `s * cos(pi k (2 m + 1) / (2 M))` with `s = sqrt(1 / M)` for `k = 0`, else `sqrt(2 / M)`.
fn fill_cosines(mels: u32, cosines: &mut [f32]) {
    let Some(turn) = NonZeroU32::new(4 * mels) else { return };
    let mut values = cosines.iter_mut();
    let mut k = 0;
    while values.len() > 0 {
        let scale = kernels::sqrt(if k == 0 { 1.0 } else { 2.0 } / mels as f32);
        for (m, value) in (0..mels).zip(values.by_ref()) {
            *value = scale * cosine_of_turn(k * (2 * m + 1), turn);
        }
        k += 1;
    }
}
