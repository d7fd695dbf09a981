//! Writes recordings of gestures as an accelerometer of 4 g would give them at 50 Hz: CSV files for the recipe `gestures`. They are computed, not measured.
//!
//! ```console
//! $ cargo run --release -p smidgen-trainer --example gestures -- gestures
//! $ smidgen train gestures --data gestures
//! ```
//!
//! Each file has six seconds in one hand: held in an orientation of its own, within 25 degrees of upright, with the amplitude, the rate and the unevenness of its own, and noise.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

/// Classes: a device never reports the first one, whose name begins with an underscore.
const GESTURES: [&str; 4] = ["_rest_", "circle", "nod", "shake"];
const SECONDS: f64 = 6.0;
const RATE: f64 = 50.0;

fn main() -> io::Result<()> {
    let Some(directory) = std::env::args().nth(1) else {
        eprintln!("give the directory to write to");
        std::process::exit(2);
    };
    write(Path::new(&directory), 24, 8)
}

/// Writes so many recordings of each gesture for training, and so many for testing.
///
/// # Errors
/// If a file cannot be written.
pub fn write(directory: &Path, train: u64, test: u64) -> io::Result<()> {
    for (class, gesture) in (0..).zip(GESTURES) {
        for index in 0..train + test {
            let part = if index < train { "train" } else { "test" };
            let folder = directory.join(part).join(gesture);
            fs::create_dir_all(&folder)?;
            let mut text = "x,y,z\n".to_owned();
            for [x, y, z] in recording(gesture, class << 32 | index) {
                // Infallible for text.
                writeln!(text, "{x:.4},{y:.4},{z:.4}").ok();
            }
            fs::write(folder.join(format!("{index}.csv")), text)?;
        }
    }
    Ok(())
}

/// Uniform numbers in `[low, high)`, of `SplitMix64`.
struct Random(u64);

impl Random {
    fn between(&mut self, low: f64, high: f64) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        low + (high - low) * (x >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Accelerations in g, gravity among them.
fn recording(gesture: &str, seed: u64) -> Vec<[f64; 3]> {
    let mut random = Random(seed);
    let (pitch, roll) = (random.between(-0.44, 0.44), random.between(-0.44, 0.44));
    let (unevenness, noise) = (random.between(0.05, 0.3), random.between(0.01, 0.05));
    let (hertz, strength) = match gesture {
        "circle" => (random.between(0.8, 1.8), random.between(0.25, 0.9)),
        "nod" => (random.between(1.0, 2.5), random.between(0.25, 0.9)),
        "shake" => (random.between(2.5, 5.0), random.between(0.3, 1.2)),
        _ => (random.between(0.1, 1.0), random.between(0.0, 0.05)),
    };
    let mut phase = random.between(0.0, std::f64::consts::TAU);
    let direction = if random.between(0.0, 1.0) < 0.5 { -1.0 } else { 1.0 };
    let sample = |n: usize| {
        // Slower and faster, stronger and weaker, with a period of about two seconds.
        let sway = libm::sin(n as f64 / RATE * 3.0 + 7.0 * unevenness);
        phase += std::f64::consts::TAU * hertz / RATE * (1.0 + unevenness * sway);
        let now = strength * (1.0 - unevenness * sway);
        let [x, y, z] = match gesture {
            "circle" => [now * libm::cos(phase), now * direction * libm::sin(phase), 0.0],
            "nod" => [0.2 * now * libm::sin(phase), 0.0, now * libm::sin(phase)],
            "shake" => [now * libm::sin(phase), 0.2 * now * libm::cos(phase), 0.0],
            _ => [now * libm::sin(phase); 3],
        };
        tilted([x, y, z + 1.0], pitch, roll).map(|value| value + noise * random.between(-1.0, 1.0))
    };
    (0..(SECONDS * RATE) as usize).map(sample).collect()
}

/// As the sensor sees it that is turned around its x axis, and then around its y axis.
fn tilted([x, y, z]: [f64; 3], pitch: f64, roll: f64) -> [f64; 3] {
    let (sine, cosine) = libm::sincos(pitch);
    let [y, z] = [cosine * y - sine * z, sine * y + cosine * z];
    let (sine, cosine) = libm::sincos(roll);
    [cosine * x + sine * z, y, cosine * z - sine * x]
}
