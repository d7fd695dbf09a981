//! The program, small data to give it, and a model that it has trained.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// A recipe whose run takes a second or two.
const RECIPE: &str = "name = 'tiny'
data.dataset = 'mnist'
data.validation_fraction = 0.2
network.net = 'mnist_ds_cnn'
training = { epochs = 2, batch = 32, chunk = 8 }
schedule.learning_rate = 0.01
quantization.samples = 64
";

/// The program with these arguments, not started yet. What surrounds the tests has no say in it.
pub(crate) fn smidgen(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smidgen"));
    command.args(arguments).env_remove("SMIDGEN_SIMD");
    command
}

/// What became of a run.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program prints UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Ended {
    smidgen(arguments).output().expect("the program starts").into()
}

/// Runs the program, which succeeds, and returns what it prints on stdout.
#[track_caller]
pub(crate) fn succeed(arguments: &[&str]) -> String {
    let ended = run(arguments);
    assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
    ended.stdout
}

/// Runs the program, which fails with code 1, one sentence that has all of `parts`, and nothing on stdout.
#[track_caller]
pub(crate) fn fail(arguments: &[&str], parts: &[&str]) {
    failed(&run(arguments), parts);
}

/// Whether a run has failed with `code`, one sentence that has all of `parts`, and nothing on stdout.
#[track_caller]
pub(crate) fn failed_with(code: i32, ended: &Ended, parts: &[&str]) {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{ended:?}");
    let errors: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    let &[error] = errors.as_slice() else { panic!("not one error: {ended:?}") };
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
}

/// Whether a run has failed as [`fail`] says.
#[track_caller]
pub(crate) fn failed(ended: &Ended, parts: &[&str]) {
    failed_with(1, ended, parts);
}

/// The one JSON object that `stdout` is.
#[track_caller]
pub(crate) fn object(stdout: &str) -> serde_json::Map<String, serde_json::Value> {
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    match serde_json::from_str(stdout) {
        Ok(serde_json::Value::Object(object)) => object,
        other => panic!("not an object: {other:?}"),
    }
}

/// A directory that is there as long as the value is.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    /// The path of `name` in it.
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("a path in UTF-8").to_owned()
    }

    /// Writes the file `name` and returns its path.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).expect("the temporary directory can be written to");
        path
    }

    /// Writes the recipe, and more of it if there is more, and returns its path.
    pub(crate) fn recipe(&self, more: &str) -> String {
        self.write("tiny.toml", format!("{RECIPE}{more}"))
    }

    /// Writes a data set of 10 classes, a bright bar in another place for each, and returns its directory.
    pub(crate) fn data(&self) -> String {
        let directory = self.path("data");
        fs::create_dir_all(&directory).expect("the temporary directory can be written to");
        for (prefix, count) in [("train", 400), ("t10k", 100)] {
            let images = (0..count).flat_map(image).collect();
            let labels = (0..count).map(|index| (index % 10) as u8).collect();
            let file = |kind: &str| format!("data/{prefix}-{kind}-ubyte");
            self.write(&file("images-idx3"), idx(0x0803, &[count, 28, 28], images));
            self.write(&file("labels-idx1"), idx(0x0801, &[count], labels));
        }
        directory
    }
}

/// An IDX file.
pub(crate) fn idx(magic: u32, dimensions: &[u32], data: Vec<u8>) -> Vec<u8> {
    let header = std::iter::once(&magic).chain(dimensions).flat_map(|number| number.to_be_bytes());
    header.chain(data).collect()
}

/// An image of the class `index % 10`: five bars across, five upright, on noise.
fn image(index: u32) -> Vec<u8> {
    let (class, place) = (index % 10, (index % 5) * 5 + 2);
    let mut noise = index.wrapping_mul(2_654_435_761) | 1;
    let mut pixel = |row: u32, column: u32| {
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        let across = if class < 5 { row } else { column };
        let bar = if (place..place + 3).contains(&across) { 160 } else { 0 };
        bar + (noise >> 26) as u8
    };
    (0..28)
        .flat_map(|row| (0..28).map(move |column| (row, column)))
        .map(|(row, column)| pixel(row, column))
        .collect()
}

/// What `smidgen train` made of the recipe and the data above: trained once for all tests.
pub(crate) struct Trained {
    folder: Folder,
    pub(crate) data: String,
    pub(crate) printed: Ended,
}

impl Trained {
    /// The path of a file of the run.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path(&format!("run/{name}"))
    }

    /// The model's path.
    pub(crate) fn model(&self) -> String {
        self.path("model.smg")
    }
}

pub(crate) fn trained() -> &'static Trained {
    static TRAINED: OnceLock<Trained> = OnceLock::new();
    TRAINED.get_or_init(|| {
        let folder = Folder::new();
        let (recipe, data) = (folder.recipe(""), folder.data());
        let printed = run(&["train", &recipe, "--data", &data, "--out", &folder.path("run"), "--json"]);
        assert_eq!(printed.code, Some(0), "{printed:?}");
        Trained { folder, data, printed }
    })
}

/// The bytes of a file.
pub(crate) fn read(path: impl AsRef<Path>) -> Vec<u8> {
    let path: PathBuf = path.as_ref().into();
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
