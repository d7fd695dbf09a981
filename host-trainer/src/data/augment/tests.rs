//! Tests of the whole variation of a sample.

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

const NONE: Augmentation = Augmentation {
    shift: 0.0,
    rotate: 0.0,
    scale: 0.0,
    noise: 0.0,
    flip_horizontal: 0.0,
    flip_vertical: 0.0,
    crop_padding: 0,
    brightness: 0.0,
    contrast: 0.0,
    saturation: 0.0,
    hue: 0.0,
    cutout: 0,
    mixup: 0.0,
    cutmix: 0.0,
};
const ALL: Augmentation = Augmentation { shift: 1.5, rotate: 20.0, scale: 0.2, noise: 0.1, ..NONE };

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
    assert!(output.iter().zip(turned).all(|(value, expected)| (value - expected).abs() < 1e-5), "{output:?}");
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
        let column: f32 = output.iter().enumerate().map(|(index, value)| (index % 9) as f32 * value).sum();
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
    let extreme = Augmentation { shift: 1e4, rotate: 180.0, scale: 0.99, noise: 1e4, ..NONE };
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
        ("flip_horizontal", Augmentation { flip_horizontal: 1.5, ..none }),
        ("saturation", Augmentation { saturation: 0.5, ..none }),
        ("hue", Augmentation { hue: 0.5, ..none }),
        ("hue", Augmentation { hue: 0.6, ..none }),
        ("mixup", Augmentation { mixup: -1.0, ..none }),
    ] {
        match Augmenter::new(settings, SHAPE).unwrap_err() {
            DataError::Setting { name, .. } => assert_eq!(name, format!("augmentation.{expected}")),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn reads_settings_and_refuses_unknown_ones() {
    let read = |pairs: &[(&'static str, f32)]| {
        Augmentation::deserialize(MapDeserializer::<_, Error>::new(pairs.iter().copied()))
    };
    assert_eq!(read(&[("rotate", 10.0)]).unwrap(), Augmentation { rotate: 10.0, ..Augmentation::default() });
    assert!(read(&[]).unwrap().is_none());
    let error = read(&[("rotation", 10.0)]).unwrap_err().to_string();
    assert!(error.contains("rotation") && error.contains("rotate"), "{error}");
}

#[test]
fn flips_and_crops_move_whole_pixels() {
    let image = [1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0];
    let mut output = [f32::NAN; 6];
    let mut cut = |cut, expected: [f32; 6]| {
        cut_out(&image, [2, 3, 1], cut, [2, 3], &mut output);
        assert_eq!(output, expected, "{cut:?}");
        // The same by interpolation.
        let mut map = Map::new([2, 3], [0.0, 0.0], 0.0, 1.0);
        map.cut = cut;
        resample(&image, [2, 3, 1], &map, &mut output);
        assert_eq!(output, expected, "{cut:?}");
    };
    cut(Cut { flip_x: true, ..Cut::default() }, [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]);
    cut(Cut { flip_y: true, ..Cut::default() }, [4.0, 5.0, 6.0, 1.0, 2.0, 3.0]);
    cut(Cut { left: 1, ..Cut::default() }, [2.0, 3.0, 0.0, 5.0, 6.0, 0.0]);
    cut(Cut { top: -1, flip_x: true, ..Cut::default() }, [0.0, 0.0, 0.0, 3.0, 2.0, 1.0]);
}

#[test]
fn half_of_the_images_are_flipped_and_crops_reach_every_place() {
    let settings = Augmentation { flip_horizontal: 0.5, crop_padding: 1, ..NONE };
    let augmenter = Augmenter::new(settings, [4, 5, 1]).unwrap();
    let looks: Vec<Cut> = (0..2000).map(|sample| Look::draw(&augmenter, 1, 0, sample).cut).collect();
    let flipped = looks.iter().filter(|cut| cut.flip_x).count();
    // The standard deviation of the count is 22.
    assert!(flipped.abs_diff(1000) < 110, "{flipped}");
    assert!(looks.iter().all(|cut| !cut.flip_y));
    let places: std::collections::BTreeSet<_> = looks.iter().map(|cut| (cut.top, cut.left)).collect();
    assert_eq!(places.len(), 9);
}

#[test]
fn parts_are_cut_out_of_larger_images() {
    let image: Vec<u8> = (0..48).collect();
    let augmenter = Augmenter::cropping(NONE, [4, 6, 2], [3, 4]).unwrap();
    let mut places = std::collections::BTreeSet::new();
    for sample in 0..200 {
        let mut output = [f32::NAN; 24];
        augmenter.apply(&image, 1, 0, sample, &mut output);
        let first = (output[0] * 255.0).round() as usize;
        for (index, value) in output.iter().enumerate() {
            let (y, rest) = (index / 8, index % 8);
            assert_eq!(*value, (first + y * 12 + rest) as f32 / 255.0);
        }
        places.insert(first);
    }
    assert_eq!(places.len(), 2 * 3);
    assert!(Augmenter::cropping(NONE, [4, 6, 2], [5, 6]).is_err());
}

const PLAIN: Look = Look {
    cut: Cut { top: 0, left: 0, flip_y: false, flip_x: false },
    brightness: 1.0,
    contrast: 1.0,
    saturation: 1.0,
    hue: 0.0,
    hole: [0, 0],
};

#[test]
fn colours_change_as_their_names_say() {
    let look = |brightness, contrast, saturation| Look { brightness, contrast, saturation, ..PLAIN };
    let image = [0.2_f32, 0.4, 0.6, 0.4, 0.4, 0.4];
    let changed = |look: Look| {
        let mut values = image;
        look.colour([1, 2, 3], &mut values);
        values
    };
    let close = |found: [f32; 6], expected: [f32; 6]| {
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} {expected:?}");
    };
    close(changed(look(1.5, 1.0, 1.0)), [0.3, 0.6, 0.9, 0.6, 0.6, 0.6]);
    close(changed(look(3.0, 1.0, 1.0)), [0.6, 1.0, 1.0, 1.0, 1.0, 1.0]);
    close(changed(look(1.0, 0.5, 1.0)), [0.3, 0.4, 0.5, 0.4, 0.4, 0.4]);
    let grey = 0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6;
    close(changed(look(1.0, 1.0, 0.0)), [grey, grey, grey, 0.4, 0.4, 0.4]);
}

#[test]
fn hues_turn_around_the_circle() {
    const CIRCLE: [[f32; 3]; 6] = [
        [0.75, 0.25, 0.25],
        [0.75, 0.75, 0.25],
        [0.25, 0.75, 0.25],
        [0.25, 0.75, 0.75],
        [0.25, 0.25, 0.75],
        [0.75, 0.25, 0.75],
    ];
    let close = |found: [f32; 3], expected: [f32; 3]| {
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 2e-6), "{found:?} {expected:?}");
    };
    for (index, colour) in CIRCLE.into_iter().enumerate() {
        for sixths in -3..=3_i32 {
            let there = (index as i32 + sixths).rem_euclid(6) as usize;
            close(turned(colour, sixths as f32 / 6.0), CIRCLE[there]);
        }
    }
    // Half way from red to yellow, by the angle of the definition.
    close(turned([0.5, 0.1, 0.1], 1.0 / 12.0), [0.5, 0.3, 0.1]);
    assert_eq!(turned([0.4; 3], 0.3), [0.4; 3]);
}

/// The way there and back of the definition, in f64: hue as an angle, saturation, value, and each sixth of the circle on its own.
fn through_hsv(pixel: [f64; 3], turn: f64) -> [f64; 3] {
    let [red, green, blue] = pixel;
    let value = red.max(green).max(blue);
    let chroma = value - red.min(green).min(blue);
    let saturation = if value == 0.0 { 0.0 } else { chroma / value };
    let degrees = match () {
        () if chroma == 0.0 => 0.0,
        () if value == red => 60.0 * ((green - blue) / chroma),
        () if value == green => 60.0 * ((blue - red) / chroma) + 120.0,
        () => 60.0 * ((red - green) / chroma) + 240.0,
    };
    let sixth = (degrees + 360.0 * turn).rem_euclid(360.0) / 60.0;
    let part = sixth.fract();
    let low = value * (1.0 - saturation);
    let (falling, rising) = (value * (1.0 - saturation * part), value * (1.0 - saturation * (1.0 - part)));
    match sixth as u32 {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}

#[test]
fn hues_agree_with_the_definition() {
    let mut random = generator(6, Use::Look, 0, 0);
    for _ in 0..5000 {
        let pixel = [(); 3].map(|()| unit(&mut random));
        let turn = symmetric(&mut random, 0.5);
        let expected = through_hsv(pixel.map(f64::from), turn.into());
        for (value, expected) in turned(pixel, turn).into_iter().zip(expected) {
            // A place on the circle up to 9, rounded in f32, times a range of at most 1; and the hue of a nearly grey pixel, whose error the range takes back.
            assert!((f64::from(value) - expected).abs() < 4e-6, "{pixel:?} by {turn}: {value} {expected}");
        }
    }
    // What a sample is turned by is drawn within the bound, on both sides, and changes nothing else that is drawn.
    let settings = Augmentation { hue: 0.2, ..NONE };
    let augmenter = Augmenter::new(settings, [4, 5, 3]).unwrap();
    let plain = Augmenter::new(NONE, [4, 5, 3]).unwrap();
    let (mut least, mut greatest) = (f32::MAX, f32::MIN);
    for sample in 0..500 {
        let look = Look::draw(&augmenter, 1, 0, sample);
        (least, greatest) = (least.min(look.hue), greatest.max(look.hue));
        assert_eq!(look.hole, Look::draw(&plain, 1, 0, sample).hole);
    }
    assert!((-0.2..-0.19).contains(&least) && (0.19..0.2).contains(&greatest), "{least} {greatest}");
}

#[test]
fn the_hole_is_black_and_stays_in_the_image() {
    let settings = Augmentation { cutout: 3, ..NONE };
    let augmenter = Augmenter::new(settings, [6, 7, 2]).unwrap();
    let mut areas = std::collections::BTreeSet::new();
    for sample in 0..100 {
        let mut output = [f32::NAN; 84];
        augmenter.apply(&[255_u8; 84], 1, 0, sample, &mut output);
        assert!(output.iter().all(|&value| value == 0.0 || value == 1.0));
        areas.insert(output.iter().filter(|&&value| value == 0.0).count() / 2);
    }
    assert_eq!(areas.into_iter().collect::<Vec<_>>(), [4, 6, 9]);
}
