//! Colours whose hue is turned.

/// A colour whose hue in the HSV model is turned by a part of the circle, from -0.5 to 0.5; its greatest and its least channel keep their values.
///
/// A. R. Smith: *Color Gamut Transform Pairs*, SIGGRAPH 1978. As the saturation's and the value's formulas have nothing to do with the hue, only the range of channels is needed of them.
pub(super) fn turned([red, green, blue]: [f32; 3], turn: f32) -> [f32; 3] {
    let greatest = red.max(green).max(blue);
    let range = greatest - red.min(green).min(blue);
    if range == 0.0 {
        return [red, green, blue];
    }
    // In sixths of the circle, from red over yellow.
    let hue = if greatest == red {
        (green - blue) / range
    } else if greatest == green {
        2.0 + (blue - red) / range
    } else {
        4.0 + (red - green) / range
    };
    [5.0, 3.0, 1.0].map(|channel| {
        let place = (channel + hue + 6.0 * turn).rem_euclid(6.0);
        greatest - range * place.min(4.0 - place).clamp(0.0, 1.0)
    })
}
