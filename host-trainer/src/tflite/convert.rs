//! From a `.tflite` file to a model file.

use sha2::{Digest, Sha256};
use smidgen::model::WriteError;
use smidgen::{Metadata, Preprocessing};

use super::error::ImportError;
use super::export::{LABELS, PREPROCESSING};
use super::import::{Imported, import};
use super::net::Net;
use crate::compile::quantize::{Options, QuantizeError, post_training};
use crate::compile::{CompileError, LowerOptions, Packing, compile_inference, fold_padding, fuse_activation};
use crate::graph::{Graph, Value};
use crate::recipe;

/// Why a `.tflite` file did not become a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// It could not be imported.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// It could not be quantized.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// It has no f32 input that could be calibrated.
    #[error("only a float network with one input can be calibrated, this one's {inputs}")]
    NotFloat {
        /// Its inputs.
        inputs: String,
    },
    /// It could not be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The model file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Samples with which a float network becomes an int8 one.
#[derive(Clone, Copy, Debug)]
pub struct Calibration<'a> {
    /// The samples, one after the other, as the network takes them. There is at least one.
    pub samples: &'a [f32],
    /// How ranges are found.
    pub settings: &'a recipe::Quantization,
}

/// A network that became a model.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The network.
    pub graph: Graph,
    /// The model file.
    pub file: Vec<u8>,
}

/// Makes a model named `name` of a `.tflite` file. With samples, a float network is quantized to int8.
///
/// # Errors
/// See [`ConvertError`].
pub fn convert(
    tflite: &[u8],
    name: &str,
    calibration: Option<Calibration<'_>>,
) -> Result<Converted, ConvertError> {
    convert_packed(tflite, name, calibration, Packing::Plain)
}

/// [`convert`], with the weights of int8 layers packed for certain processors.
///
/// # Errors
/// See [`ConvertError`].
pub fn convert_packed(
    tflite: &[u8],
    name: &str,
    calibration: Option<Calibration<'_>>,
    packing: Packing,
) -> Result<Converted, ConvertError> {
    convert_with(tflite, name, calibration, &LowerOptions { packing, ..LowerOptions::default() })
}

/// [`convert`], compiled in a certain way.
///
/// # Errors
/// See [`ConvertError`].
pub fn convert_with(
    tflite: &[u8],
    name: &str,
    calibration: Option<Calibration<'_>>,
    options: &LowerOptions,
) -> Result<Converted, ConvertError> {
    let net = Net::read(tflite)?;
    let Imported { graph, input_names, output_names } = import(&net, name)?;
    let graph = fold_padding(graph);
    let graph = match calibration {
        Some(calibration) => quantized(&fuse_activation(graph), calibration)?,
        None => graph,
    };
    let program = compile_inference(&graph, options)?;
    let provenance = serde_json::json!({
        "importer": concat!("smidgen-trainer ", env!("CARGO_PKG_VERSION")),
        "tflite": {
            "sha256": hex(&Sha256::digest(tflite)),
            "description": net.description,
            "inputs": input_names,
            "outputs": output_names,
        },
    });
    let about = |wanted: &str| net.metadata.iter().find(|(name, _)| name == wanted).map(|&(_, bytes)| bytes);
    let labels = about(LABELS).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
    let metadata = Metadata {
        name,
        labels,
        step_names: "",
        provenance: &provenance.to_string(),
        preprocessing: about(PREPROCESSING).and_then(normalize).unwrap_or_default(),
    };
    Ok(Converted { file: program.to_file(&metadata)?, graph })
}

fn quantized(graph: &Graph, calibration: Calibration<'_>) -> Result<Graph, ConvertError> {
    // Tables of indices and what an arg_max computes are integers in any network.
    let is_float = |value: &Value| matches!(value, Value::F32(_) | Value::I32(_));
    let floats =
        graph.tensors.iter().all(|tensor| match &tensor.value {
            Some(value) => is_float(value),
            None => matches!(tensor.element_type, smidgen::ElementType::F32 | smidgen::ElementType::I32),
        }) && graph.inputs.iter().all(|&id| graph.tensor(id).element_type == smidgen::ElementType::F32);
    let (&[input], true) = (graph.inputs.as_slice(), floats) else {
        let types: Vec<String> = graph
            .inputs
            .iter()
            .map(|&id| format!("{:?} {:?}", graph.tensor(id).element_type, graph.tensor(id).shape.0))
            .collect();
        return Err(ConvertError::NotFloat { inputs: format!("inputs are {}", types.join(", ")) });
    };
    let elements = graph.tensor(input).shape.elements().unwrap_or(0).max(1);
    let samples: Vec<&[f32]> = calibration.samples.chunks_exact(elements).collect();
    Ok(post_training(
        graph,
        calibration.settings,
        Options::default(),
        samples.len(),
        &mut |sample, input| {
            input.copy_from_slice(samples[sample]);
        },
    )?)
}

/// The preprocessing that an exported file names.
fn normalize(bytes: &[u8]) -> Option<Preprocessing<'static>> {
    let (&[mean, std], []) = bytes.as_chunks() else { return None };
    let [mean, std] = [mean, std].map(f32::from_le_bytes);
    let is_one = mean.is_finite() && std.is_finite() && std > 0.0;
    is_one.then_some(Preprocessing::Normalize { mean, std })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
