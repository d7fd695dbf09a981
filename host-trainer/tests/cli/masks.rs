//! Segmentation: images with masks become a model that finds them.

use image::{GrayImage, Luma};

use crate::support::{Folder, fail, object, read, succeed};

const RECIPE: &str = r#"name = "discs"
data = { dataset = "images", greyscale = true, validation_fraction = 0.1 }
task.kind = "segment"
network.net = "u_net"
training = { epochs = 8, batch = 8, chunk = 4 }
loss.kind = "binary_cross_entropy"
schedule.learning_rate = 0.01
quantization.samples = 16

[augmentation]
flip_horizontal = 0.5
shift = 1.0
"#;

/// Writes images of discs on a slope of noise, and masks with these values around and in them.
fn discs(folder: &Folder, of: &str, values: &[u8]) -> String {
    for (part, count) in [("train", 60_u32), ("test", 12)] {
        for kind in ["images", "masks"] {
            std::fs::create_dir_all(folder.path(&format!("{of}/{part}/{kind}"))).unwrap();
        }
        for index in 0..count {
            let place =
                |salt: u32| 4.0 + (index.wrapping_mul(2_654_435_761).wrapping_add(salt) >> 16 & 7) as f32;
            let (middle_x, middle_y) = (place(0), place(77_777_777));
            // Of three classes, the third one's discs are darker.
            let class = 1 + index as usize % (values.len() - 1);
            let is_in = |x: u32, y: u32| (x as f32 - middle_x).hypot(y as f32 - middle_y) < 3.5;
            let noise =
                |x: u32, y: u32| (x * 7919 + y * 104_729 + index * 31).wrapping_mul(2_654_435_761) >> 27;
            let image = GrayImage::from_fn(16, 16, |x, y| {
                let disc = if is_in(x, y) { 160 / class as u32 } else { 0 };
                Luma([(20 + 2 * x + noise(x, y) + disc) as u8])
            });
            let mask = GrayImage::from_fn(16, 16, |x, y| Luma([values[if is_in(x, y) { class } else { 0 }]]));
            for (kind, image) in [("images", image), ("masks", mask)] {
                image.save(folder.path(&format!("{of}/{part}/{kind}/{index}.png"))).unwrap();
            }
        }
    }
    folder.path(of)
}

#[test]
fn a_model_finds_masks() {
    let folder = Folder::new();
    for (name, values, least) in [("two", &[0, 255][..], 0.85), ("three", &[0, 1, 2], 0.6)] {
        let (recipe, data) = (folder.write("discs.toml", RECIPE), discs(&folder, name, values));
        let out = folder.path(&format!("run-{name}"));
        let metrics = object(&succeed(&["train", &recipe, "--data", &data, "--out", &out, "--json"]));
        let iou = metrics["int8_mean_iou"].as_f64().unwrap();
        assert!(iou > least, "{name}: {iou} {:?}", metrics["int8_ious"]);
        let accuracy = |key: &str| metrics[key].as_f64().unwrap();
        assert!((accuracy("float_accuracy") - accuracy("int8_accuracy")).abs() < 0.02, "{name}: {metrics:?}");
        let model = format!("{out}/model.smg");
        let found = object(&succeed(&["eval", &model, "--data", &data, "--json"]));
        assert_eq!(
            (&found["mean_iou"], found["samples"].as_u64()),
            (&metrics["int8_mean_iou"], Some(12 * 256))
        );
        let page = String::from_utf8(read(format!("{out}/report.html"))).unwrap();
        assert!(page.contains("its mask") && page.contains("Mean IoU"));
    }
    let (recipe, data) = (folder.write("discs.toml", RECIPE), folder.path("two"));
    let healthy = object(&succeed(&["doctor", &recipe, "--data", &data, "--json"]));
    assert_eq!(healthy["healthy"], true, "{healthy:?}");
    let wrong = folder.write("wrong.toml", RECIPE.replace("binary_cross_entropy", "cross_entropy"));
    fail(&["train", &wrong, "--data", &data], &["loss.kind", "binary_cross_entropy or dice", "task.kind"]);
    // A negative control: masks of other images are not found.
    for index in 0..6 {
        let path = |index: u32| folder.path(&format!("two/test/masks/{index}.png"));
        std::fs::rename(path(index), folder.path("kept.png")).unwrap();
        std::fs::rename(path(11 - index), path(index)).unwrap();
        std::fs::rename(folder.path("kept.png"), path(11 - index)).unwrap();
    }
    let found = object(&succeed(&["eval", &folder.path("run-two/model.smg"), "--data", &data, "--json"]));
    assert!(found["mean_iou"].as_f64().unwrap() < 0.8, "{found:?}");
}
