//! The files in `tests/tflite`, which `tools/make_tflite_goldens.py` writes.

use std::path::PathBuf;

use serde::Deserialize;
use smidgen_trainer::npy::{self, Array, ElementKind};

/// What `manifest.json` says of one network.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Golden {
    pub(crate) name: String,
    /// Who computed the outputs.
    pub(crate) oracle: String,
    /// The names of the operators, each once.
    pub(crate) operators: Vec<String>,
    pub(crate) rows: usize,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

/// An input or an output.
#[derive(Clone, Debug, Deserialize)]
struct Port {
    file: String,
}

#[derive(Deserialize)]
struct Manifest {
    files: Vec<Golden>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tflite")
}

fn read(path: &str) -> Vec<u8> {
    let path = folder().join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All networks; those whose name contains `SMIDGEN_GOLDENS`, if that is set.
pub(crate) fn goldens() -> Vec<Golden> {
    let manifest: Manifest = serde_json::from_slice(&read("manifest.json")).unwrap();
    let only = std::env::var("SMIDGEN_GOLDENS").unwrap_or_default();
    let chosen: Vec<Golden> =
        manifest.files.into_iter().filter(|golden| golden.name.contains(&only)).collect();
    assert!(!chosen.is_empty(), "no golden is called {only:?}");
    chosen
}

impl Golden {
    /// The `.tflite` file.
    pub(crate) fn tflite(&self) -> Vec<u8> {
        read(&format!("{}.tflite", self.name))
    }

    fn arrays(&self, ports: &[Port]) -> Vec<Array> {
        let array = |port: &Port| {
            let array = npy::parse(&read(&format!("{}/{}", self.name, port.file)));
            let array = array.unwrap_or_else(|error| panic!("{}/{}: {error}", self.name, port.file));
            assert_eq!(array.shape.first(), Some(&self.rows), "{}/{}", self.name, port.file);
            array
        };
        ports.iter().map(array).collect()
    }

    /// The rows of the inputs, one after another, each as the bytes of all inputs.
    pub(crate) fn inputs(&self) -> Vec<u8> {
        let arrays = self.arrays(&self.inputs);
        let row = |row| arrays.iter().flat_map(move |array| row_of(array, row).to_vec());
        (0..self.rows).flat_map(row).collect()
    }

    /// The outputs, with all their rows.
    pub(crate) fn outputs(&self) -> Vec<Array> {
        self.arrays(&self.outputs)
    }

    /// Whether an output is float.
    pub(crate) fn is_float(&self) -> bool {
        self.outputs().iter().any(|output| output.kind == ElementKind::F32)
    }
}

/// The bytes of one row.
pub(crate) fn row_of(array: &Array, row: usize) -> &[u8] {
    let bytes = array.bytes.len() / array.shape[0];
    &array.bytes[row * bytes..][..bytes]
}
