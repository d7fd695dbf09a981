//! Samples made of two.

use super::Augmentation;
use crate::data::random::{Use, below, beta, generator, unit};

/// Draws how samples are mixed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixer {
    mixup: f32,
    cutmix: f32,
}

/// What becomes of one sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixing {
    /// Which of the samples to choose from is the other one.
    pub partner: u32,
    /// The sample's own share of the target; the rest is the other's.
    pub share: f32,
    /// The part of the image that is the other's: rows and columns, first and behind the last; without it the two are blended.
    pub patch: Option<[[usize; 2]; 2]>,
}

impl Mixer {
    /// A mixer, if the settings ask for one.
    pub fn new(settings: &Augmentation) -> Option<Self> {
        settings.mixes().then_some(Self { mixup: settings.mixup, cutmix: settings.cutmix })
    }

    /// What becomes of `sample`, of height and width `[H, W]`, with one of `samples` others: a function of seed, epoch and sample.
    pub fn draw(
        &self,
        seed: u64,
        epoch: u32,
        sample: u32,
        samples: u32,
        [height, width]: [usize; 2],
    ) -> Mixing {
        let mut random = generator(seed, Use::Mix, epoch, sample);
        let partner = below(&mut random, samples.max(1));
        let pastes = match (self.mixup > 0.0, self.cutmix > 0.0) {
            (true, true) => unit(&mut random) < 0.5,
            (_, cutmix) => cutmix,
        };
        let share = beta(&mut random, if pastes { self.cutmix } else { self.mixup });
        if !pastes {
            return Mixing { partner, share, patch: None };
        }
        let side = libm::sqrtf(1.0 - share);
        let mut range = |length: usize| {
            let extent = (side * length as f32) as usize;
            let centre = below(&mut random, length as u32) as usize;
            [centre.saturating_sub(extent / 2), (centre + extent - extent / 2).min(length)]
        };
        let [rows, columns] = [range(height), range(width)];
        let area = (rows[1] - rows[0]) * (columns[1] - columns[0]);
        let share = 1.0 - area as f32 / (height * width) as f32;
        Mixing { partner, share, patch: Some([rows, columns]) }
    }
}

impl Mixing {
    /// Mixes `other` into `own`, both `[H, W, C]`.
    pub fn apply(&self, own: &mut [f32], other: &[f32], [_, width, channels]: [usize; 3]) {
        match self.patch {
            None => {
                for (own, other) in own.iter_mut().zip(other) {
                    *own = *own * self.share + *other * (1.0 - self.share);
                }
            }
            Some([rows, columns]) => {
                for row in rows[0]..rows[1] {
                    let start = row * width;
                    let part = (start + columns[0]) * channels..(start + columns[1]) * channels;
                    own[part.clone()].copy_from_slice(&other[part]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixer(mixup: f32, cutmix: f32) -> Mixer {
        Mixer::new(&Augmentation { mixup, cutmix, ..Augmentation::default() }).unwrap()
    }

    #[test]
    fn nothing_is_mixed_by_default() {
        assert_eq!(Mixer::new(&Augmentation::default()), None);
    }

    #[test]
    fn the_share_is_what_is_left_of_the_image() {
        for sample in 0..500 {
            let mixing = mixer(0.0, 1.0).draw(1, 2, sample, 9, [8, 6]);
            let mut own = [1.0; 48];
            mixing.apply(&mut own, &[0.0; 48], [8, 6, 1]);
            let left = own.iter().sum::<f32>() / 48.0;
            assert!((left - mixing.share).abs() < 1e-6 && mixing.partner < 9, "{mixing:?} {left}");
        }
    }

    #[test]
    fn blending_is_linear_and_depends_on_the_sample_only() {
        let mixing = mixer(0.4, 0.0).draw(1, 2, 3, 100, [1, 2]);
        assert_eq!(mixing, mixer(0.4, 0.0).draw(1, 2, 3, 100, [1, 2]));
        assert_ne!(mixing, mixer(0.4, 0.0).draw(1, 2, 4, 100, [1, 2]));
        let mut own = [1.0, 0.0];
        mixing.apply(&mut own, &[0.0, 1.0], [1, 2, 1]);
        assert_eq!(own, [mixing.share, 1.0 - mixing.share]);
    }

    #[test]
    fn with_both_each_gets_its_turn() {
        let pasted =
            (0..1000).filter(|&sample| mixer(0.2, 1.0).draw(1, 0, sample, 2, [4, 4]).patch.is_some());
        // The standard deviation of the count is 16.
        assert!(pasted.count().abs_diff(500) < 80);
    }
}
