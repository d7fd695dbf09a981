//! Motion: CSV files of an accelerometer become a model with its front end.

use crate::support::{Folder, fail, object, run, succeed};

const RECIPE: &str = r#"name = "gestures"
data = { dataset = "series", full_scale = 4.0, validation_fraction = 0.2 }
network.layers = "reshape([4, 1, 21]).conv_2d(8, [3, 1]).batch_norm().relu().global_average_pool_2d().fully_connected(3)"
training = { epochs = 12, batch = 16, chunk = 8 }
schedule.learning_rate = 0.02
quantization.samples = 64

[audio]
sample_rate = 50
axes = 3
window_samples = 64
hop_samples = 32
low_hz = 0.5
high_hz = 20.0
mels = 6
spacing = "linear"
detrend = "line"
rms = true
floor = 0.001
frames = 4
stride_frames = 2
"#;

/// A recording of 8 seconds, with a heading: gravity somewhere, and what makes the class: nothing, a slow swing of one axis, a fast one of another.
fn recording(class: usize, seed: u32) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 - 0.5
    };
    let gravity = [random(), random(), 0.8];
    let mut text = String::from("x,y,z\n");
    for n in 0..400 {
        let swing = |hz: f32| 0.6 * (std::f32::consts::TAU * hz * n as f32 / 50.0 + seed as f32).sin();
        let mut axes = gravity.map(|height| height + 0.02 * random());
        match class {
            0 => {}
            1 => axes[0] += swing(2.0),
            _ => axes[1] += swing(9.0),
        }
        text += &format!("{:.4},{:.4},{:.4}\n", axes[0], axes[1], axes[2]);
    }
    text
}

#[test]
fn a_model_learns_gestures_from_csv_files() {
    let folder = Folder::new();
    for (part, count) in [("train", 6), ("test", 2)] {
        for (class, name) in ["still", "swing", "shake"].into_iter().enumerate() {
            let of = format!("data/{part}/{name}");
            std::fs::create_dir_all(folder.path(&of)).unwrap();
            for index in 0..count {
                let seed = (class as u32 + 1) * 1_000 + index + if part == "test" { 500 } else { 0 };
                folder.write(&format!("{of}/{index}.csv"), recording(class, seed));
            }
        }
    }
    let (recipe, data, out) =
        (folder.write("gestures.toml", RECIPE), folder.path("data"), folder.path("run"));
    succeed(&["train", &recipe, "--data", &data, "--out", &out]);
    let model = format!("{out}/model.smg");
    let found = object(&succeed(&["eval", &model, "--data", &data, "--json"]));
    // 400 rows are an input of 160 and, every 64, three more.
    assert_eq!(found["samples"], 2 * 3 * 4, "{found:?}");
    assert!(found["accuracy"].as_f64().unwrap() > 0.95, "{found:?}");
    let shown = succeed(&["inspect", &model]);
    let expected = "4 frames of 64 samples of 3 axes every 32 at 50 Hz, 21 bands and root mean squares";
    assert!(shown.contains(expected), "{shown}");

    let wrong = folder.write("data/train/shake/9.csv", "x,y,z\n1,2,3\n1,2\n");
    fail(&["train", &recipe, "--data", &data, "--out", &out], &["9.csv, line 3", "2 columns, expected 3"]);
    std::fs::remove_file(wrong).unwrap();
    let sound = folder.write("sound.toml", RECIPE.replace("\"series\"", "\"audio\""));
    let ended = run(&["train", &sound, "--data", &data, "--out", &out]);
    assert!(ended.stderr.contains("audio.axes"), "{ended:?}");
}
