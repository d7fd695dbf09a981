//! Random variation of the training samples.

mod hue;
mod mix;
mod resample;

use super::DataError;
use super::audio::AudioAugmenter;
use super::random::{Use, below, gaussian_pair, generator, symmetric, unit};
use hue::turned;
use resample::{Cut, Map, cut_out, resample};

pub use mix::{Mixer, Mixing};

use serde::{Deserialize, Serialize};

/// How far samples are varied at random, so that a network learns what stays the same. The default varies nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Moves the image by up to so many pixels, along each axis on its own. Not negative.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub shift: f32,
    /// Turns the image by up to so many degrees, either way. From 0 to 180.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub rotate: f32,
    /// Magnifies the image by a factor between `1 - scale` and `1 + scale`. At least 0 and less than 1.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub scale: f32,
    /// Adds to each element a number of the normal distribution with this standard deviation, where 1 is the way from black to
    /// white. Not negative.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub noise: f32,
    /// Probability that the image is mirrored left to right. From 0 to 1.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub flip_horizontal: f32,
    /// Probability that the image is mirrored top to bottom. From 0 to 1.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub flip_vertical: f32,
    /// Pads the image by so many black pixels on each side and cuts its size out of that at a random place.
    pub crop_padding: u32,
    /// Multiplies all elements by a factor between `1 - brightness` and `1 + brightness`. From 0 to 1.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub brightness: f32,
    /// Multiplies the distance of all elements from their mean by a factor between `1 - contrast` and `1 + contrast`. From 0 to 1.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub contrast: f32,
    /// Multiplies the distance of colours from grey by a factor between `1 - saturation` and `1 + saturation`. From 0 to 1; only for
    /// images of three channels.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub saturation: f32,
    /// Turns colours around the colour circle, whose whole is 1, by up to so much, either way. From 0 to 0.5; only for images of three
    /// channels.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub hue: f32,
    /// Blackens a square of so many pixels a side, its centre anywhere in the image. 0 for none.
    pub cutout: u32,
    /// Blends each sample with another (Zhang et al. 2018, `arXiv:1710.09412`), by a share of the distribution `Beta(mixup, mixup)`. 0 does not;
    /// 0.2 is usual.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub mixup: f32,
    /// Pastes a part of another sample into each (Yun et al. 2019, `arXiv:1905.04899`), its area of the distribution `Beta(cutmix, cutmix)`. 0 does
    /// not; 1 is usual. With `mixup`, one of the two is chosen for each sample.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub cutmix: f32,
}

impl Augmentation {
    /// Whether it varies nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// What of it moves pixels, as a mask has to be moved with its image.
    #[must_use]
    pub fn geometry(&self) -> Self {
        let Self { shift, rotate, scale, flip_horizontal, flip_vertical, crop_padding, .. } = *self;
        Self { shift, rotate, scale, flip_horizontal, flip_vertical, crop_padding, ..Self::default() }
    }

    /// Whether samples are mixed with others, so that their targets are not one class.
    pub fn mixes(&self) -> bool {
        self.mixup > 0.0 || self.cutmix > 0.0
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`DataError::Setting`] names what is out of its range.
    pub fn check(&self) -> Result<(), DataError> {
        let check = |name, found: f32, valid: bool, expected| {
            if found.is_finite() && found >= 0.0 && valid {
                Ok(())
            } else {
                Err(DataError::Setting { name, found, expected })
            }
        };
        check("augmentation.shift", self.shift, self.shift <= 1e4, "a number of pixels from 0 to 10000")?;
        check("augmentation.rotate", self.rotate, self.rotate <= 180.0, "degrees from 0 to 180")?;
        check("augmentation.scale", self.scale, self.scale <= 0.99, "a fraction from 0 to 0.99")?;
        check("augmentation.noise", self.noise, self.noise <= 1e4, "a standard deviation from 0 to 10000")?;
        let fraction = |name, found: f32| check(name, found, found <= 1.0, "a fraction from 0 to 1");
        fraction("augmentation.flip_horizontal", self.flip_horizontal)?;
        fraction("augmentation.flip_vertical", self.flip_vertical)?;
        fraction("augmentation.brightness", self.brightness)?;
        fraction("augmentation.contrast", self.contrast)?;
        fraction("augmentation.saturation", self.saturation)?;
        check("augmentation.hue", self.hue, self.hue <= 0.5, "a part of the colour circle from 0 to 0.5")?;
        let pixels = "a number of pixels from 0 to 10000";
        check("augmentation.crop_padding", self.crop_padding as f32, self.crop_padding <= 10_000, pixels)?;
        check("augmentation.cutout", self.cutout as f32, self.cutout <= 10_000, pixels)?;
        check("augmentation.mixup", self.mixup, self.mixup <= 100.0, "a parameter from 0 to 100")?;
        check("augmentation.cutmix", self.cutmix, self.cutmix <= 100.0, "a parameter from 0 to 100")
    }
}

/// How samples of a data set vary: images, or sound.
#[derive(Debug, Clone, PartialEq)]
pub enum Variation {
    /// Images.
    Image(Augmenter),
    /// Sound, as features.
    Sound(AudioAugmenter),
}

impl Variation {
    /// The shape of what comes out, `[H, W, C]`.
    pub fn shape(&self) -> [usize; 3] {
        match self {
            Self::Image(augmenter) => augmenter.shape(),
            Self::Sound(augmenter) => augmenter.shape(),
        }
    }

    /// [`Augmenter::apply`] or [`AudioAugmenter::apply`].
    ///
    /// # Panics
    /// If a length is not that of the shape.
    pub fn apply(&self, sample: &[u8], seed: u64, epoch: u32, index: u32, output: &mut [f32]) {
        match self {
            Self::Image(augmenter) => augmenter.apply(sample, seed, epoch, index, output),
            Self::Sound(augmenter) => augmenter.apply(sample, seed, epoch, index, output),
        }
    }
}

/// The type of a sample's elements.
pub trait Pixel: Copy {
    /// The value that stands for 1.0.
    const FULL_SCALE: f32;

    /// The element as a number, exactly.
    fn value(self) -> f32;
}

impl Pixel for u8 {
    const FULL_SCALE: f32 = 255.0;

    fn value(self) -> f32 {
        f32::from(self)
    }
}

impl Pixel for f32 {
    const FULL_SCALE: f32 = 1.0;

    fn value(self) -> f32 {
        self
    }
}

/// Applies a checked [`Augmentation`] to samples of one shape.
///
/// What happens to a sample is a function of `(seed, epoch, sample)`: the same on every machine, on any number of threads, in any
/// order. Only basic `f32` arithmetic and `libm` are used, and nothing is allocated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augmenter {
    settings: Augmentation,
    source: [usize; 3],
    shape: [usize; 3],
}

impl Augmenter {
    /// An augmenter for samples of `shape` `[H, W, C]`.
    ///
    /// # Errors
    /// A setting is out of the range that its field in [`Augmentation`] states, or is for colour images and these are not.
    pub fn new(settings: Augmentation, shape: [usize; 3]) -> Result<Self, DataError> {
        Self::cropping(settings, shape, [shape[0], shape[1]])
    }

    /// An augmenter that cuts images of `[height, width]` at random places out of samples of the shape `source`, `[H, W, C]`.
    ///
    /// # Errors
    /// As [`Self::new`], or what is to be cut out is larger than the samples.
    pub fn cropping(
        settings: Augmentation,
        source: [usize; 3],
        [height, width]: [usize; 2],
    ) -> Result<Self, DataError> {
        settings.check()?;
        let [source_h, source_w, channels] = source;
        for (name, found) in
            [("augmentation.saturation", settings.saturation), ("augmentation.hue", settings.hue)]
        {
            if found > 0.0 && channels != 3 {
                let expected = "0, as only images of three channels have colours";
                return Err(DataError::Setting { name, found, expected });
            }
        }
        for (name, wanted, there) in
            [("data.crop (height)", height, source_h), ("data.crop (width)", width, source_w)]
        {
            if wanted == 0 || wanted > there {
                let expected = "at least 1 and not more than the images have";
                return Err(DataError::Setting { name, found: wanted as f32, expected });
            }
        }
        Ok(Self { settings, source, shape: [height, width, channels] })
    }

    /// The shape of what comes out, `[H, W, C]`.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Varies `image`, of the source's shape, into `output`, `[H, W, C]`: from 0 to 1 for bytes, in the image's own unit for `f32`.
    ///
    /// Crop, mirroring, shift, rotation and magnification about the centre are one affine map; the output takes its values from where they
    /// were, interpolated between the four nearest pixels unless the map is one of whole pixels, and 0 (the background) from outside of the
    /// image. So normalize after it. Brightness, contrast, saturation and hue follow, limited to 0..1; then noise, which is not; then what is cut out.
    ///
    /// # Panics
    /// If a length is not that of the shape.
    pub fn apply<P: Pixel>(&self, image: &[P], seed: u64, epoch: u32, sample: u32, output: &mut [f32]) {
        let [height, width, _] = self.shape;
        assert_eq!(image.len(), self.source.iter().product::<usize>(), "image length");
        assert_eq!(output.len(), self.shape.iter().product::<usize>(), "output length");
        let Augmentation { shift, rotate, scale, noise, .. } = self.settings;
        let mut random = generator(seed, Use::Augment, epoch, sample);
        // All are drawn, needed or not: to change one setting does not change what the others do.
        let shift_x = symmetric(&mut random, shift);
        let shift_y = symmetric(&mut random, shift);
        let degrees = symmetric(&mut random, rotate);
        let factor = 1.0 + symmetric(&mut random, scale);
        let look = Look::draw(self, seed, epoch, sample);
        if shift == 0.0 && rotate == 0.0 && scale == 0.0 {
            cut_out(image, self.source, look.cut, [height, width], output);
        } else {
            let mut map = Map::new([height, width], [shift_y, shift_x], degrees, factor);
            map.cut = look.cut;
            resample(image, self.source, &map, output);
        }
        look.colour(self.shape, output);
        if noise > 0.0 {
            for pair in output.chunks_mut(2) {
                let (first, second) = gaussian_pair(&mut random);
                for (value, normal) in pair.iter_mut().zip([first, second]) {
                    *value += noise * normal;
                }
            }
        }
        look.blacken(self.settings.cutout as usize, self.shape, output);
    }
}

/// What is drawn for one sample besides its affine map.
#[derive(Debug)]
struct Look {
    cut: Cut,
    brightness: f32,
    contrast: f32,
    saturation: f32,
    /// By which part of the colour circle colours turn.
    hue: f32,
    /// The centre of what is blackened.
    hole: [usize; 2],
}

impl Look {
    fn draw(augmenter: &Augmenter, seed: u64, epoch: u32, sample: u32) -> Self {
        let Augmenter { settings, source: [source_h, source_w, _], shape: [height, width, _] } = *augmenter;
        let mut random = generator(seed, Use::Look, epoch, sample);
        let flip_x = unit(&mut random) < settings.flip_horizontal;
        let flip_y = unit(&mut random) < settings.flip_vertical;
        let padding = settings.crop_padding;
        let mut offset = |source: usize, wanted: usize| {
            let places = (source - wanted) as u32 + 2 * padding + 1;
            below(&mut random, places).cast_signed() - padding.cast_signed()
        };
        let (top, left) = (offset(source_h, height), offset(source_w, width));
        let mut factor = |bound| 1.0 + symmetric(&mut random, bound);
        let (brightness, contrast) = (factor(settings.brightness), factor(settings.contrast));
        let saturation = factor(settings.saturation);
        let hole = [height, width].map(|length| below(&mut random, length as u32) as usize);
        let hue = symmetric(&mut random, settings.hue);
        Self { cut: Cut { top, left, flip_y, flip_x }, brightness, contrast, saturation, hue, hole }
    }

    fn colour(&self, [.., channels]: [usize; 3], values: &mut [f32]) {
        let Self { brightness, contrast, saturation, hue, .. } = *self;
        if [brightness, contrast, saturation] == [1.0; 3] && hue == 0.0 {
            return;
        }
        let mean = values.iter().sum::<f32>() / values.len() as f32 * brightness;
        for value in &mut *values {
            *value = mean + (*value * brightness - mean) * contrast;
        }
        if saturation != 1.0 {
            // The luma of ITU-R BT.601.
            const LUMA: [f32; 3] = [0.299, 0.587, 0.114];
            for pixel in values.chunks_exact_mut(channels) {
                let grey: f32 = pixel.iter().zip(LUMA).map(|(value, weight)| value * weight).sum();
                pixel.iter_mut().for_each(|value| *value = grey + (*value - grey) * saturation);
            }
        }
        if hue != 0.0 {
            values.as_chunks_mut().0.iter_mut().for_each(|pixel| *pixel = turned(*pixel, hue));
        }
        values.iter_mut().for_each(|value| *value = value.clamp(0.0, 1.0));
    }

    fn blacken(&self, side: usize, [height, width, channels]: [usize; 3], values: &mut [f32]) {
        if side == 0 {
            return;
        }
        let range = |centre: usize, length: usize| {
            let first = centre.saturating_sub(side / 2);
            first..(centre + side - side / 2).min(length)
        };
        let [y, x] = self.hole;
        for row in values
            .chunks_exact_mut(width * channels)
            .take(height)
            .skip(range(y, height).start)
            .take(range(y, height).len())
        {
            let columns = range(x, width);
            row[columns.start * channels..columns.end * channels].fill(0.0);
        }
    }
}

#[cfg(test)]
mod tests;
