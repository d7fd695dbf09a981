//! Against the formulas in f64, and a stream against a recording.

use std::vec;
use std::vec::Vec;

use super::*;
use crate::memory::Aligned;

/// Pre-emphasis, cepstra, zeros behind the window: everything.
const ALL: AudioConfig = AudioConfig {
    sample_rate: 16_000,
    window_samples: 400,
    hop_samples: 160,
    fft_length: 512,
    window: WindowShape::Hamming,
    pre_emphasis: 0.97,
    low_hz: 80.0,
    high_hz: 7_600.0,
    mels: 40,
    coefficients: 13,
    floor: 1e-6,
    frames: 20,
    stride_frames: 5,
    ..AudioConfig::SPEECH_8_KHZ
};

/// What a motion sensor gives, with cepstra and pre-emphasis, too.
const MOTION: AudioConfig = AudioConfig { coefficients: 4, pre_emphasis: 0.5, ..AudioConfig::MOTION_50_HZ };

const CONFIGS: [AudioConfig; 7] = [
    AudioConfig::SPEECH_8_KHZ,
    ALL,
    AudioConfig::MOTION_50_HZ,
    MOTION,
    AudioConfig { axes: 2, detrend: Detrend::Mean, rms: false, ..AudioConfig::MOTION_50_HZ },
    // More filters than bins, odd hop, from 0 Hz to half the rate.
    AudioConfig {
        mels: 64,
        hop_samples: 33,
        fft_length: 64,
        window_samples: 64,
        low_hz: 0.0,
        ..AudioConfig::SPEECH_8_KHZ
    },
    AudioConfig {
        window: WindowShape::Rectangular,
        window_samples: 16,
        hop_samples: 16,
        fft_length: 16,
        mels: 3,
        ..AudioConfig::SPEECH_8_KHZ
    },
];

/// A tone that glides, with noise on it.
fn sound(samples: usize) -> Vec<i16> {
    let mut state = 1_u32;
    (0..samples)
        .map(|n| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let time = n as f64 / 8_000.0;
            let tone = (core::f64::consts::TAU * (200.0 + 900.0 * time) * time).sin() * 12_000.0;
            (tone + f64::from((state >> 16) as i16) / 20.0) as i16
        })
        .collect()
}

fn mel(hz: f64) -> f64 {
    1127.0 * (1.0 + hz / 700.0).ln()
}

/// The steps of the module's description, as they stand there.
fn reference(config: &AudioConfig, frame: &[i16], normalization: &[f32]) -> Vec<f64> {
    let axes = config.axes as usize;
    let axis = |axis| frame.iter().skip(axis).step_by(axes).copied().collect::<Vec<i16>>();
    let features: Vec<f64> = (0..axes).flat_map(|n| reference_of_axis(config, &axis(n))).collect();
    let normalized = features.iter().enumerate().map(|(channel, value)| match normalization {
        [] => *value,
        numbers => (value - f64::from(numbers[2 * channel])) * f64::from(numbers[2 * channel + 1]),
    });
    normalized.collect()
}

fn reference_of_axis(config: &AudioConfig, frame: &[i16]) -> Vec<f64> {
    let mut x: Vec<f64> = frame.iter().map(|&x| f64::from(x) / 32_768.0).collect();
    let n = x.len();
    let mean = x.iter().sum::<f64>() / n as f64;
    let from_middle = |t: usize| t as f64 - (n as f64 - 1.0) / 2.0;
    let slope = (0..n).map(|t| from_middle(t) * x[t]).sum::<f64>()
        / (0..n).map(|t| from_middle(t) * from_middle(t)).sum::<f64>();
    for (t, x) in x.iter_mut().enumerate() {
        *x -= match config.detrend {
            Detrend::None => 0.0,
            Detrend::Mean => mean,
            Detrend::Line => mean + slope * from_middle(t),
        };
    }
    let rms = config.rms.then(|| (x.iter().map(|x| x * x).sum::<f64>() / n as f64).sqrt());
    let y = (0..n).map(|i| {
        let turn = core::f64::consts::TAU * i as f64 / n as f64;
        let weight = match config.window {
            WindowShape::Hann => 0.5 - 0.5 * turn.cos(),
            WindowShape::Hamming => 0.54 - 0.46 * turn.cos(),
            WindowShape::Rectangular => 1.0,
        };
        (x[i] - f64::from(config.pre_emphasis) * x[i.saturating_sub(1)]) * weight
    });
    let y: Vec<f64> = y.collect();
    let length = config.fft_length as usize;
    let mel = |hz: f64| if config.spacing == Spacing::Linear { hz } else { mel(hz) };
    let step = (mel(config.high_hz.into()) - mel(config.low_hz.into())) / f64::from(config.mels + 1);
    let mut energies = vec![0.0; config.mels as usize];
    for k in 0..=length / 2 {
        let hz = k as f64 * f64::from(config.sample_rate) / length as f64;
        let (mut re, mut im) = (0.0, 0.0);
        for (i, y) in y.iter().enumerate() {
            let turn = core::f64::consts::TAU * ((k * i) % length) as f64 / length as f64;
            re += y * turn.cos();
            im -= y * turn.sin();
        }
        for (band, energy) in energies.iter_mut().enumerate() {
            let centre = mel(config.low_hz.into()) + step * (band + 1) as f64;
            *energy += (re * re + im * im) * (1.0 - (mel(hz) - centre).abs() / step).max(0.0);
        }
    }
    let logs: Vec<f64> = energies.iter().map(|energy| (energy + f64::from(config.floor)).ln()).collect();
    let count = logs.len() as f64;
    let filters = if config.coefficients == 0 {
        logs
    } else {
        let coefficient = |k: u32| {
            let scale = (if k == 0 { 1.0 } else { 2.0 } / count).sqrt();
            let turn = |m: usize| core::f64::consts::PI * f64::from(k) * (m as f64 + 0.5) / count;
            logs.iter().enumerate().map(|(m, value)| scale * value * turn(m).cos()).sum()
        };
        (0..config.coefficients).map(coefficient).collect()
    };
    rms.into_iter().chain(filters).collect()
}

fn with_front_end<R>(audio: &Audio<'_>, work: impl FnOnce(&mut FrontEnd<'_>) -> R) -> R {
    let mut memory = Aligned([0xa5_u8; 65_536]);
    let length = audio.config.memory_bytes() as usize;
    work(&mut FrontEnd::new(audio, &mut memory.0[..length]).expect("a good configuration"))
}

fn bits(row: &[f32]) -> Vec<u32> {
    row.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn features_are_those_of_the_formulas() {
    // A logarithm of a sum of squares whose smallest part is `floor`: f32 loses some units in the fifth place where bins nearly cancel.
    const TOLERANCE: f64 = 2e-3;
    for config in CONFIGS {
        let channels = config.channels();
        let numbers: Vec<f32> = (0..2 * channels).map(|i| 0.5 + i as f32 / 100.0).collect();
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        for (normalization, numbers) in [(&[][..], &[][..]), (&bytes, &numbers)] {
            let audio = Audio { config, normalization };
            let samples = sound(2_000);
            with_front_end(&audio, |front_end| {
                for frame in samples.chunks_exact(config.frame_samples()).take(3) {
                    let expected = reference(&config, frame, numbers);
                    let found = front_end.frame(frame);
                    assert_eq!(found.len(), channels);
                    for (channel, (found, expected)) in found.iter().zip(expected).enumerate() {
                        let error = (f64::from(*found) - expected).abs();
                        assert!(
                            error < TOLERANCE,
                            "{config:?}, channel {channel}: {found}, expected {expected}"
                        );
                    }
                }
            });
        }
    }
}

#[test]
fn a_stream_in_portions_gives_what_the_recording_gives() {
    let samples = sound(3_001);
    for config in CONFIGS {
        let audio = Audio { config, normalization: &[] };
        let (window, hop) = (config.frame_samples(), config.step_samples());
        let batch: Vec<Vec<u32>> = with_front_end(&audio, |front_end| {
            samples.windows(window).step_by(hop).map(|frame| bits(front_end.frame(frame))).collect()
        });
        assert_eq!(batch.len(), config.frames_in(samples.len()));
        assert!(batch[0] != batch[1], "the frames differ, or nothing is shown");
        for portion in [1, 7, hop, window + 1, samples.len()] {
            let streamed = with_front_end(&audio, |front_end| {
                let mut rows = Vec::new();
                for mut part in samples.chunks(portion) {
                    while let Some(rest) = front_end.push(part) {
                        rows.push(bits(front_end.features()));
                        part = rest;
                    }
                }
                rows
            });
            assert_eq!(streamed, batch, "portions of {portion}");
        }
    }
}

#[test]
fn a_listener_asks_once_a_stride_for_the_last_frames() {
    let audio = Audio { config: ALL, normalization: &[] };
    let quantization = crate::Quantization { scale: 0.2, zero_point: -3 };
    let samples = sound(8_000);
    let (window, hop) = (ALL.window_samples as usize, ALL.hop_samples as usize);
    let rows: Vec<Vec<i8>> = with_front_end(&audio, |front_end| {
        let frames = samples.windows(window).step_by(hop);
        frames
            .map(|frame| front_end.frame(frame).iter().map(|&x| quantization.quantize(x)).collect())
            .collect()
    });
    let (mut memory, mut frames) = (Aligned([0; 32_768]), [0; 20 * 13]);
    let mut listener = Listener::new(&audio, quantization, &mut memory.0, &mut frames).unwrap();
    let mut inputs = Vec::new();
    for mut part in samples.chunks(77) {
        while let Some(rest) = listener.push(part) {
            inputs.push(listener.input().to_vec());
            part = rest;
        }
    }
    let expected: Vec<Vec<i8>> = rows.windows(20).step_by(5).map(<[_]>::concat).collect();
    assert!(expected.len() > 4);
    assert_eq!(inputs, expected);
    listener.reset();
    assert!(listener.push(&samples[..ALL.input_samples() - 1]).is_none());
    assert!(listener.push(&samples[..1]).is_some());
    let mut short = [0; 20 * 13 - 1];
    let error = Listener::new(&audio, quantization, &mut memory.0, &mut short).unwrap_err();
    assert_eq!(error, FrontEndError::Input { expected: 259, found: 260 });
}

#[test]
fn gravity_and_drift_are_taken_away() {
    // What is slow is not in the bands, so that a board that lies otherwise is the same to a network.
    let config = AudioConfig { axes: 1, ..AudioConfig::MOTION_50_HZ };
    let swing = |n: i32| (n * 37 % 64 - 32) * 40;
    let frame = |height: i32, slope: i32| (0..64).map(|n| (swing(n) + height + slope * n) as i16).collect();
    let (level, tilted): (Vec<i16>, Vec<i16>) = (frame(0, 0), frame(16_384, -50));
    let features = |detrend| {
        with_front_end(
            &Audio { config: AudioConfig { detrend, ..config }, normalization: &[] },
            |front_end| [&level, &tilted].map(|frame| front_end.frame(frame).to_vec()),
        )
    };
    let difference = |[a, b]: [Vec<f32>; 2]| a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference(features(Detrend::Line)) < 1e-2);
    assert!(difference(features(Detrend::Mean)) > 0.1);
    assert!(difference(features(Detrend::None)) > 0.4);
}

#[test]
fn silence_and_full_scale_give_finite_numbers() {
    for config in CONFIGS {
        with_front_end(&Audio { config, normalization: &[] }, |front_end| {
            let n = config.frame_samples();
            for frame in [
                vec![0; n],
                vec![i16::MIN; n],
                vec![],
                (0..n).map(|i| if i % 2 == 0 { i16::MIN } else { i16::MAX }).collect(),
            ] {
                assert!(front_end.frame(&frame).iter().all(|x| x.is_finite()));
            }
        });
    }
}

/// What a change of these bits costs: every model that was trained with the old ones.
#[test]
fn the_bits_are_pinned() {
    let audio = Audio { config: ALL, normalization: &[] };
    let noise: Vec<i16> = (0..400_u32).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 16) as i16 / 3).collect();
    let row = with_front_end(&audio, |front_end| bits(&front_end.frame(&noise)[..4]));
    assert_eq!(row, [1_078_343_218, 3_248_759_961, 3_222_576_524, 3_225_238_343]);
}

#[test]
fn what_cannot_be_is_refused() {
    let base = AudioConfig::SPEECH_8_KHZ;
    let wrong = [
        ("sample_rate", AudioConfig { sample_rate: 0, ..base }),
        ("axes", AudioConfig { axes: 0, ..base }),
        ("axes", AudioConfig { axes: 17, ..base }),
        ("window_samples", AudioConfig { window_samples: 255, ..base }),
        ("hop_samples", AudioConfig { hop_samples: 257, ..base }),
        ("hop_samples", AudioConfig { hop_samples: 0, ..base }),
        ("fft_length", AudioConfig { fft_length: 128, ..base }),
        ("fft_length", AudioConfig { fft_length: 300, ..base }),
        ("fft_length", AudioConfig { fft_length: 8192, ..base }),
        ("pre_emphasis", AudioConfig { pre_emphasis: f32::NAN, ..base }),
        ("low_hz", AudioConfig { low_hz: 4_000.0, ..base }),
        ("high_hz", AudioConfig { high_hz: 4_001.0, ..base }),
        ("mels", AudioConfig { mels: 129, ..base }),
        ("coefficients", AudioConfig { coefficients: 25, ..base }),
        ("floor", AudioConfig { floor: 0.0, ..base }),
        ("frames", AudioConfig { frames: 0, ..base }),
        ("stride_frames", AudioConfig { stride_frames: 62, ..base }),
    ];
    let mut memory = Aligned([0; 65_536]);
    for (field, config) in wrong {
        let error = FrontEnd::new(&Audio { config, normalization: &[] }, &mut memory.0).unwrap_err();
        assert_eq!(error, FrontEndError::Config(field));
    }
    let expected = base.memory_bytes() as usize;
    let audio = Audio { config: base, normalization: &[] };
    let error = FrontEnd::new(&audio, &mut memory.0[..expected - 1]).unwrap_err();
    assert_eq!(error, FrontEndError::Memory { expected, found: expected - 1 });
    assert!(matches!(FrontEnd::new(&audio, &mut memory.0[1..]), Err(FrontEndError::Memory { .. })));
    let audio = Audio { config: base, normalization: &[0; 190] };
    assert_eq!(audio.check(), Err(FrontEndError::Normalization { expected: 192, found: 190 }));
    let audio = Audio { config: base, normalization: &[0xff; 192] };
    assert!(audio.check().is_err(), "NaN");
}
