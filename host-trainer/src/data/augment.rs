use serde::{Deserialize, Serialize};

use super::DataError;
use super::random::{Use, gaussian_pair, generator, symmetric};

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
}

impl Augmentation {
    /// Whether it varies nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn check(&self) -> Result<(), DataError> {
        let check = |name, found: f32, valid: bool, expected| {
            if found.is_finite() && found >= 0.0 && valid {
                Ok(())
            } else {
                Err(DataError::Setting { name, found, expected })
            }
        };
        check("shift", self.shift, self.shift <= 1e4, "a number of pixels from 0 to 10000")?;
        check("rotate", self.rotate, self.rotate <= 180.0, "degrees from 0 to 180")?;
        check("scale", self.scale, self.scale <= 0.99, "a fraction from 0 to 0.99")?;
        check("noise", self.noise, self.noise <= 1e4, "a standard deviation from 0 to 10000")
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
    shape: [usize; 3],
}

impl Augmenter {
    /// An augmenter for samples of `shape` `[H, W, C]`.
    ///
    /// # Errors
    /// A setting is out of the range that its field in [`Augmentation`] states.
    pub fn new(settings: Augmentation, shape: [usize; 3]) -> Result<Self, DataError> {
        settings.check()?;
        Ok(Self { settings, shape })
    }

    /// Varies `image`, `[H, W, C]`, into `output` of the same length: from 0 to 1 for bytes, in the image's own unit for `f32`.
    ///
    /// Shift, rotation and magnification about the centre are one affine map; the output takes its values from where they were,
    /// interpolated between the four nearest pixels, and 0 (the background) from outside of the image. So normalize after it. Noise
    /// comes last and is not clamped.
    ///
    /// # Panics
    /// If a length is not that of the shape.
    pub fn apply<P: Pixel>(&self, image: &[P], seed: u64, epoch: u32, sample: u32, output: &mut [f32]) {
        let length: usize = self.shape.iter().product();
        assert_eq!(image.len(), length, "image length");
        assert_eq!(output.len(), length, "output length");
        let Augmentation { shift, rotate, scale, noise } = self.settings;
        let mut random = generator(seed, Use::Augment, epoch, sample);
        // All are drawn, needed or not: to change one setting does not change what the others do.
        let shift_x = symmetric(&mut random, shift);
        let shift_y = symmetric(&mut random, shift);
        let degrees = symmetric(&mut random, rotate);
        let factor = 1.0 + symmetric(&mut random, scale);
        if shift == 0.0 && rotate == 0.0 && scale == 0.0 {
            for (output, pixel) in output.iter_mut().zip(image) {
                *output = pixel.value() / P::FULL_SCALE;
            }
        } else {
            let [height, width, _] = self.shape;
            let map = Map::new([height, width], [shift_y, shift_x], degrees, factor);
            resample(image, self.shape, &map, output);
        }
        if noise > 0.0 {
            for pair in output.chunks_mut(2) {
                let (first, second) = gaussian_pair(&mut random);
                for (value, normal) in pair.iter_mut().zip([first, second]) {
                    *value += noise * normal;
                }
            }
        }
    }
}

/// Where each output pixel comes from: `source = centre + (turn / factor) · (output - centre - shift)`.
#[derive(Debug)]
struct Map {
    centre_y: f32,
    centre_x: f32,
    shift_y: f32,
    shift_x: f32,
    /// The cosine and the sine of the angle, divided by the magnification.
    cosine: f32,
    sine: f32,
}

impl Map {
    /// The map that undoes: magnify by `factor` and turn by `degrees` (x towards y, clockwise to the eye) about the centre, then
    /// shift by `[y, x]` pixels.
    fn new([height, width]: [usize; 2], [shift_y, shift_x]: [f32; 2], degrees: f32, factor: f32) -> Self {
        const RADIANS: f32 = core::f32::consts::PI / 180.0;
        let (sine, cosine) = libm::sincosf(degrees * RADIANS);
        Self {
            centre_y: (height as f32 - 1.0) / 2.0,
            centre_x: (width as f32 - 1.0) / 2.0,
            shift_y,
            shift_x,
            cosine: cosine / factor,
            sine: sine / factor,
        }
    }

    fn source(&self, y: usize, x: usize) -> [f32; 2] {
        let from_centre_y = y as f32 - self.centre_y - self.shift_y;
        let from_centre_x = x as f32 - self.centre_x - self.shift_x;
        [
            self.centre_y + (self.cosine * from_centre_y - self.sine * from_centre_x),
            self.centre_x + (self.cosine * from_centre_x + self.sine * from_centre_y),
        ]
    }
}

/// Bilinear interpolation of `image` at the map's source of each pixel of `output`, both `[H, W, C]`.
fn resample<P: Pixel>(image: &[P], [height, width, channels]: [usize; 3], map: &Map, output: &mut [f32]) {
    let row_length = width * channels;
    for (out_y, row) in output.chunks_exact_mut(row_length).enumerate() {
        for (out_x, pixel) in row.chunks_exact_mut(channels).enumerate() {
            let [source_y, source_x] = map.source(out_y, out_x);
            let (top, below) = floor(source_y);
            let (left, right_of) = floor(source_x);
            let blend = |[a, b, c, d]: [f32; 4]| {
                let upper = a * (1.0 - right_of) + b * right_of;
                let lower = c * (1.0 - right_of) + d * right_of;
                (upper * (1.0 - below) + lower * below) / P::FULL_SCALE
            };
            // Where a pixel begins, if it is inside of the image.
            let begin = |y: i32, x: i32| {
                let y = usize::try_from(y).ok().filter(|&y| y < height)?;
                let x = usize::try_from(x).ok().filter(|&x| x < width)?;
                Some(y * row_length + x * channels)
            };
            if let (Some(first), Some(_)) = (begin(top, left), begin(top + 1, left + 1)) {
                // All four are inside, as nearly always: two pixels of one row, two of the next.
                let upper = &image[first..first + 2 * channels];
                let lower = &image[first + row_length..first + row_length + 2 * channels];
                for (channel, output) in pixel.iter_mut().enumerate() {
                    let corners = [
                        upper[channel],
                        upper[channels + channel],
                        lower[channel],
                        lower[channels + channel],
                    ];
                    *output = blend(corners.map(P::value));
                }
            } else {
                let corners =
                    [begin(top, left), begin(top, left + 1), begin(top + 1, left), begin(top + 1, left + 1)];
                for (channel, output) in pixel.iter_mut().enumerate() {
                    *output =
                        blend(corners.map(|first| first.map_or(0.0, |first| image[first + channel].value())));
                }
            }
        }
    }
}

/// The greatest integer not above `value`, and how far `value` is above it, in `[0, 1]`. Values stay far inside of `i32`: the settings are bounded.
fn floor(value: f32) -> (i32, f32) {
    let truncated = value as i32;
    let floor = if truncated as f32 > value { truncated - 1 } else { truncated };
    (floor, value - floor as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::value::{Error, MapDeserializer};

    const SHAPE: [usize; 3] = [5, 7, 2];

    fn image() -> Vec<u8> {
        (0..70_u32).map(|index| (index * 37 % 251) as u8).collect()
    }

    fn augmented(settings: Augmentation, seed: u64, epoch: u32, sample: u32) -> Vec<f32> {
        let mut output = vec![f32::NAN; 70];
        Augmenter::new(settings, SHAPE).unwrap().apply(&image(), seed, epoch, sample, &mut output);
        output
    }

    const ALL: Augmentation = Augmentation { shift: 1.5, rotate: 20.0, scale: 0.2, noise: 0.1 };

    #[test]
    fn the_default_only_scales_bytes() {
        let output = augmented(Augmentation::default(), 1, 2, 3);
        assert!(output.iter().zip(image()).all(|(&value, byte)| value == f32::from(byte) / 255.0));
    }

    #[test]
    fn the_identity_map_is_exact() {
        let mut output = vec![0.0; 70];
        resample(&image(), SHAPE, &Map::new([5, 7], [0.0, 0.0], 0.0, 1.0), &mut output);
        assert_eq!(output, augmented(Augmentation::default(), 0, 0, 0));
    }

    #[test]
    fn a_shift_moves_right_and_down_and_leaves_background() {
        let image = [1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0];
        let mut output = [f32::NAN; 6];
        resample(&image, [2, 3, 1], &Map::new([2, 3], [0.0, 1.0], 0.0, 1.0), &mut output);
        assert_eq!(output, [0.0, 1.0, 2.0, 0.0, 4.0, 5.0]);
        resample(&image, [2, 3, 1], &Map::new([2, 3], [1.0, 0.0], 0.0, 1.0), &mut output);
        assert_eq!(output, [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]);
        resample(&image, [2, 3, 1], &Map::new([2, 3], [0.0, -0.5], 0.0, 1.0), &mut output);
        assert_eq!(output, [1.5, 2.5, 1.5, 4.5, 5.5, 3.0]);
    }

    #[test]
    fn a_quarter_turn_goes_clockwise() {
        let image = [1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        let mut output = [f32::NAN; 9];
        resample(&image, [3, 3, 1], &Map::new([3, 3], [0.0, 0.0], 90.0, 1.0), &mut output);
        let turned = [7.0, 4.0, 1.0, 8.0, 5.0, 2.0, 9.0, 6.0, 3.0];
        // The cosine of 90 degrees in f32 is -4.4e-8.
        assert!(
            output.iter().zip(turned).all(|(value, expected)| (value - expected).abs() < 1e-5),
            "{output:?}"
        );
    }

    #[test]
    fn a_factor_of_two_magnifies_about_the_centre() {
        let mut image = [0.0_f32; 25];
        image[2 * 5 + 3] = 1.0;
        let mut output = [f32::NAN; 25];
        resample(&image, [5, 5, 1], &Map::new([5, 5], [0.0, 0.0], 0.0, 2.0), &mut output);
        assert_eq!(output[2 * 5..3 * 5], [0.0, 0.0, 0.0, 0.5, 1.0]);
    }

    /// The definition, in f64: a tent of width 1 over every source pixel.
    fn reference(image: &[u8], map: [f64; 4], out_y: usize, out_x: usize, channel: usize) -> f64 {
        let [shift_y, shift_x, degrees, factor] = map;
        let (sine, cosine) = degrees.to_radians().sin_cos();
        let (y, x) = (out_y as f64 - 2.0 - shift_y, out_x as f64 - 3.0 - shift_x);
        let source_y = 2.0 + (cosine * y - sine * x) / factor;
        let source_x = 3.0 + (cosine * x + sine * y) / factor;
        let tent = |distance: f64| (1.0 - distance.abs()).max(0.0);
        let mut sum = 0.0;
        for y in 0..5 {
            for x in 0..7 {
                sum += f64::from(image[(y * 7 + x) * 2 + channel])
                    * tent(source_y - y as f64)
                    * tent(source_x - x as f64);
            }
        }
        sum / 255.0
    }

    #[test]
    fn agrees_with_the_definition_of_bilinear_interpolation() {
        let mut random = generator(5, Use::Augment, 0, 0);
        let mut inside = 0;
        for _ in 0..200 {
            let map = [
                symmetric(&mut random, 4.0),
                symmetric(&mut random, 4.0),
                symmetric(&mut random, 180.0),
                1.0 + symmetric(&mut random, 0.9),
            ];
            let mut output = vec![f32::NAN; 70];
            resample(&image(), SHAPE, &Map::new([5, 7], [map[0], map[1]], map[2], map[3]), &mut output);
            for (index, &value) in output.iter().enumerate() {
                let expected = reference(&image(), map.map(f64::from), index / 14, index / 2 % 7, index % 2);
                inside += usize::from(expected > 0.0);
                // Positions up to 50 pixels from the centre, rounded in f32 (6e-8), on a slope of at most 2 per pixel.
                assert!((f64::from(value) - expected).abs() < 5e-5, "{map:?} at {index}: {value} {expected}");
            }
        }
        assert!(inside > 4000, "only {inside} elements showed anything of the image");
    }

    #[test]
    fn depends_on_seed_epoch_and_sample_and_on_nothing_else() {
        let first = augmented(ALL, 1, 2, 3);
        assert_eq!(first, augmented(ALL, 1, 2, 3));
        for other in [augmented(ALL, 9, 2, 3), augmented(ALL, 1, 9, 3), augmented(ALL, 1, 2, 9)] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn bytes_and_their_values_give_nearly_the_same() {
        let values: Vec<f32> = image().iter().map(|&byte| f32::from(byte) / 255.0).collect();
        let mut output = vec![f32::NAN; 70];
        Augmenter::new(ALL, SHAPE).unwrap().apply(&values, 1, 2, 3, &mut output);
        // Only the moment of the division by 255 differs: a few roundings of numbers up to 1.
        assert!(output.iter().zip(augmented(ALL, 1, 2, 3)).all(|(one, other)| (one - other).abs() < 1e-6));
    }

    #[test]
    fn noise_does_not_change_how_the_image_moves() {
        let still = augmented(Augmentation { noise: 0.0, ..ALL }, 1, 2, 3);
        let noisy = augmented(Augmentation { noise: 1e-4, ..ALL }, 1, 2, 3);
        assert_ne!(still, noisy);
        // No number of the generator is beyond 5.8 standard deviations: sqrt(2 * 24 * ln 2).
        assert!(still.iter().zip(&noisy).all(|(one, other)| (one - other).abs() < 6e-4));
    }

    #[test]
    fn stays_within_its_bounds_and_uses_them() {
        // Over one bright pixel, the centre of mass tells the shift.
        let augmenter =
            Augmenter::new(Augmentation { shift: 2.0, ..Augmentation::default() }, [9, 9, 1]).unwrap();
        let mut image = [0_u8; 81];
        image[4 * 9 + 4] = 255;
        let (mut least, mut greatest) = (f32::MAX, f32::MIN);
        for sample in 0..500 {
            let mut output = [0.0; 81];
            augmenter.apply(&image, 1, 0, sample, &mut output);
            let column: f32 =
                output.iter().enumerate().map(|(index, value)| (index % 9) as f32 * value).sum();
            let shift = column / output.iter().sum::<f32>() - 4.0;
            (least, greatest) = (least.min(shift), greatest.max(shift));
        }
        assert!((-2.001..-1.9).contains(&least) && (1.9..2.001).contains(&greatest), "{least} {greatest}");
    }

    /// Pins the arithmetic: a change here changes every network trained with augmentation.
    #[test]
    fn the_bits_are_pinned() {
        let bits: Vec<u32> = augmented(ALL, 42, 1, 7)[30..34].iter().map(|value| value.to_bits()).collect();
        assert_eq!(bits, [0x3E1C_083C, 0x3EBD_D494, 0x3EE5_817A, 0x3EF5_A250]);
    }

    #[test]
    fn extreme_settings_give_finite_numbers() {
        let extreme = Augmentation { shift: 1e4, rotate: 180.0, scale: 0.99, noise: 1e4 };
        for sample in 0..50 {
            assert!(augmented(extreme, 0, 0, sample).iter().all(|value| value.is_finite()));
        }
    }

    #[test]
    fn refuses_settings_out_of_range() {
        let none = Augmentation::default();
        for (expected, settings) in [
            ("shift", Augmentation { shift: -1.0, ..none }),
            ("shift", Augmentation { shift: f32::NAN, ..none }),
            ("rotate", Augmentation { rotate: 181.0, ..none }),
            ("scale", Augmentation { scale: 1.0, ..none }),
            ("noise", Augmentation { noise: f32::INFINITY, ..none }),
        ] {
            match Augmenter::new(settings, SHAPE).unwrap_err() {
                DataError::Setting { name, .. } => assert_eq!(name, expected),
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn reads_settings_and_refuses_unknown_ones() {
        let read = |pairs: &[(&'static str, f32)]| {
            Augmentation::deserialize(MapDeserializer::<_, Error>::new(pairs.iter().copied()))
        };
        assert_eq!(
            read(&[("rotate", 10.0)]).unwrap(),
            Augmentation { rotate: 10.0, ..Augmentation::default() }
        );
        assert!(read(&[]).unwrap().is_none());
        let error = read(&[("rotation", 10.0)]).unwrap_err().to_string();
        assert!(error.contains("rotation") && error.contains("rotate"), "{error}");
    }
}
