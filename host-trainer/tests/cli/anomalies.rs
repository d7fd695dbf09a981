//! Anomalies: recordings of a machine as it should be become a model that tells when it is not.

use hound::{SampleFormat, WavSpec, WavWriter};

use crate::support::{Folder, fail, object, read, succeed};

const RECIPE: &str = r#"name = "machine"
data = { dataset = "audio", all_windows = true, validation_fraction = 0.1 }
task = { kind = "reconstruct", percentile = 99.0 }
network.layers = "flatten().fully_connected(32).batch_norm().relu().fully_connected(4).batch_norm().relu().fully_connected(32).batch_norm().relu().fully_connected(64)"
training = { epochs = 15, batch = 16, chunk = 8 }
loss.kind = "mean_squared_error"
schedule.learning_rate = 0.01
quantization.samples = 64

[audio]
window_samples = 256
hop_samples = 128
mels = 16
frames = 4
stride_frames = 4
"#;

/// A second of a machine that hums, now faster, now slower; a broken one whistles, too.
fn record(path: &str, seed: u32, is_broken: bool) {
    let spec =
        WavSpec { channels: 1, sample_rate: 8_000, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 - 0.5
    };
    let pitch = 180.0 + 40.0 * random();
    let mut writer = WavWriter::create(path, spec).unwrap();
    for n in 0..8_000 {
        let tone = |hz: f32| (std::f32::consts::TAU * hz * n as f32 / 8_000.0).sin();
        let hum = 0.3 * tone(pitch) + 0.1 * tone(3.0 * pitch) + 0.05 * tone(7.0 * pitch);
        let whistle = if is_broken { 0.03 * tone(2_900.0) } else { 0.0 };
        writer.write_sample(((hum + whistle + 0.02 * random()) * 32_000.0) as i16).unwrap();
    }
    writer.finalize().unwrap();
}

/// Writes recordings of whole and of broken machines, and says how many there are of each.
fn recordings(folder: &Folder, of: &str, parts: &[(&str, u32, bool)]) -> String {
    for &(part, count, is_broken) in parts {
        std::fs::create_dir_all(folder.path(&format!("{of}/{part}"))).unwrap();
        for index in 0..count {
            let seed =
                part.bytes().fold(index + 1, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
            record(&folder.path(&format!("{of}/{part}/{index}.wav")), seed, is_broken);
        }
    }
    folder.path(of)
}

#[test]
fn a_model_of_what_is_normal_tells_what_is_not() {
    let folder = Folder::new();
    let of = [("train/normal", 20, false), ("test/normal", 6, false), ("test/whistles", 4, true)];
    let (recipe, data) = (folder.write("machine.toml", RECIPE), recordings(&folder, "data", &of));
    let out = folder.path("run");
    let healthy = object(&succeed(&["doctor", &recipe, "--data", &data, "--json"]));
    assert_eq!(healthy["healthy"], true, "{healthy:?}");
    let metrics = object(&succeed(&["train", &recipe, "--data", &data, "--out", &out, "--json"]));
    for auc in ["float_auc", "int8_auc"] {
        assert!(metrics[auc].as_f64().unwrap() > 0.95, "{auc} of {metrics:?}");
    }
    assert!(metrics["history"][0]["train_accuracy"].is_null() && metrics.get("int8_accuracy").is_none());

    // An input of 640 samples once every 512: 15 in a second. What evaluating finds is what training said.
    let model = format!("{out}/model.smg");
    let found = object(&succeed(&["eval", &model, "--data", &data, "--json"]));
    assert_eq!((found["samples"].as_u64(), &found["auc"]), (Some(10 * 15), &metrics["int8_auc"]));
    assert_eq!(found["decision"], metrics["decision"]);
    let count = |key: &str| found["decision"][key].as_u64().unwrap();
    assert_eq!((count("normal"), count("anomalous")), (90, 60));
    assert!(count("detected") > 50 && count("false_alarms") < 12, "{found:?}");
    let shown = succeed(&["eval", &model, "--data", &data]);
    assert!(shown.contains("area under ROC") && shown.contains("false alarms"), "{shown}");
    let page = String::from_utf8(read(format!("{out}/report.html"))).unwrap();
    assert!(page.contains("aria-label=\"Scores\"") && !page.contains("Confusion"));

    // A negative control: machines that are not broken cannot be told from those that are not.
    let same = [("train/normal", 1, false), ("test/normal", 6, false), ("test/whistles", 4, false)];
    let same = recordings(&folder, "same", &same);
    let found = object(&succeed(&["eval", &model, "--data", &same, "--json"]));
    let auc = found["auc"].as_f64().unwrap();
    assert!((0.2..0.8).contains(&auc), "{auc}");

    let classify = folder.write("classify.toml", RECIPE.replace("mean_squared_error", "cross_entropy"));
    fail(&["train", &classify, "--data", &data], &["loss.kind", "mean_squared_error or huber", "task.kind"]);
    let other = folder.write("other.toml", RECIPE.replace("99.0 }", "99.0, normal = [\"fine\"] }"));
    fail(
        &["train", &other, "--data", &data],
        &["task.normal: there is no class fine, only normal, whistles"],
    );
    let narrow =
        folder.write("narrow.toml", RECIPE.replace("fully_connected(64)\"", "fully_connected(10)\""));
    fail(&["train", &narrow, "--data", &data], &["10 outputs", "64 numbers to give back"]);
}
