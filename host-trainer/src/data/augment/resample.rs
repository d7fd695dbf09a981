//! Where the pixels of a varied image come from.

use super::Pixel;

/// Where each output pixel comes from: `source = centre + (turn / factor) · (output - centre - shift)`, moved by the place of the crop, and
/// mirrored.
#[derive(Debug)]
pub(super) struct Map {
    height: usize,
    width: usize,
    /// What is cut out of the source, and how it is mirrored.
    pub(super) cut: Cut,
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
    pub(super) fn new(
        [height, width]: [usize; 2],
        [shift_y, shift_x]: [f32; 2],
        degrees: f32,
        factor: f32,
    ) -> Self {
        const RADIANS: f32 = core::f32::consts::PI / 180.0;
        let (sine, cosine) = libm::sincosf(degrees * RADIANS);
        Self {
            height,
            width,
            cut: Cut::default(),
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
        let Cut { top, left, flip_y, flip_x } = self.cut;
        let mirror = |position: f32, flip, length: usize| {
            if flip { (length as f32 - 1.0) - position } else { position }
        };
        let y = self.centre_y + (self.cosine * from_centre_y - self.sine * from_centre_x);
        let x = self.centre_x + (self.cosine * from_centre_x + self.sine * from_centre_y);
        [mirror(y, flip_y, self.height) + top as f32, mirror(x, flip_x, self.width) + left as f32]
    }
}

/// A part of the source of the output's size, perhaps mirrored. It may stand over the source's edges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) top: i32,
    pub(super) left: i32,
    pub(super) flip_y: bool,
    pub(super) flip_x: bool,
}

/// Copies a part of `image`, `[H, W, C]`, to `output`, `[height, width, C]`, without interpolation.
pub(super) fn cut_out<P: Pixel>(
    image: &[P],
    [source_h, source_w, channels]: [usize; 3],
    cut: Cut,
    [height, width]: [usize; 2],
    output: &mut [f32],
) {
    let place = |at: usize, length: usize, flip, offset: i32, source: usize| {
        let at = if flip { length - 1 - at } else { at };
        usize::try_from(at as i64 + i64::from(offset)).ok().filter(|&at| at < source)
    };
    for (out_y, row) in output.chunks_exact_mut(width * channels).enumerate() {
        let y = place(out_y, height, cut.flip_y, cut.top, source_h);
        for (out_x, pixel) in row.chunks_exact_mut(channels).enumerate() {
            match y.zip(place(out_x, width, cut.flip_x, cut.left, source_w)) {
                None => pixel.fill(0.0),
                Some((y, x)) => {
                    let first = (y * source_w + x) * channels;
                    for (value, source) in pixel.iter_mut().zip(&image[first..first + channels]) {
                        *value = source.value() / P::FULL_SCALE;
                    }
                }
            }
        }
    }
}

/// Bilinear interpolation of `image`, `[H, W, C]`, at the map's source of each pixel of `output`.
pub(super) fn resample<P: Pixel>(
    image: &[P],
    [height, width, channels]: [usize; 3],
    map: &Map,
    output: &mut [f32],
) {
    let row_length = width * channels;
    for (out_y, row) in output.chunks_exact_mut(map.width * channels).enumerate() {
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
