//! The tables of a file, and its bytes.

use smidgen::{Metadata, Preprocessing};
use smidgen_tflite_schema::{
    Buffer, BuiltinOperator, BuiltinOptions, Metadata as MetadataTable, Model, Operator, OperatorCode,
    QuantizationParameters, SubGraph, Tensor, TensorType, to_file,
};

/// Name of the metadata that holds the names of the classes, one a line.
pub(crate) const LABELS: &str = "smidgen_labels";

/// Name of the metadata that holds the preprocessing: mean and standard deviation as f32, as [`Preprocessing::Normalize`] has them.
pub(crate) const PREPROCESSING: &str = "smidgen_normalize";

/// A tensor to be written.
#[derive(Clone, Debug)]
pub(super) struct NewTensor {
    pub(super) name: String,
    pub(super) dims: Vec<i32>,
    pub(super) element_type: TensorType,
    pub(super) data: Option<Vec<u8>>,
    pub(super) quantization: Option<NewQuantization>,
}

/// A quantization to be written.
#[derive(Clone, Debug)]
pub(super) struct NewQuantization {
    pub(super) scales: Vec<f32>,
    pub(super) zero_point: i64,
    pub(super) axis: i32,
}

/// An operator to be written.
#[derive(Clone, Debug)]
pub(super) struct NewOperator {
    pub(super) code: BuiltinOperator,
    pub(super) version: i32,
    pub(super) inputs: Vec<usize>,
    pub(super) output: usize,
    pub(super) options: Option<BuiltinOptions>,
}

/// What is to be written.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    pub(super) tensors: Vec<NewTensor>,
    pub(super) operators: Vec<NewOperator>,
    pub(super) inputs: Vec<usize>,
    pub(super) outputs: Vec<usize>,
}

impl Tables {
    /// Adds a tensor.
    pub(super) fn add(&mut self, tensor: NewTensor) -> usize {
        self.tensors.push(tensor);
        self.tensors.len() - 1
    }
}

/// The file.
pub(super) fn file(tables: Tables, metadata: &Metadata<'_>) -> Vec<u8> {
    // Buffer 0 is empty by convention.
    let mut buffers = vec![Buffer::default()];
    let mut add_buffer = |data: Vec<u8>| {
        buffers.push(Buffer { data: Some(data), ..Buffer::default() });
        buffers.len() as u32 - 1
    };
    let tensors = tables.tensors.into_iter().map(|tensor| Tensor {
        shape: Some(tensor.dims),
        type_: tensor.element_type,
        buffer: tensor.data.map_or(0, &mut add_buffer),
        name: Some(tensor.name),
        quantization: tensor.quantization.map(|quantization| {
            Box::new(QuantizationParameters {
                zero_point: Some(vec![quantization.zero_point; quantization.scales.len()]),
                scale: Some(quantization.scales),
                quantized_dimension: quantization.axis,
                ..QuantizationParameters::default()
            })
        }),
        has_rank: true,
        ..Tensor::default()
    });
    let tensors: Vec<Tensor> = tensors.collect();
    let mut codes: Vec<(BuiltinOperator, i32)> = Vec::new();
    let mut operators = Vec::with_capacity(tables.operators.len());
    for operator in tables.operators {
        let code = (operator.code, operator.version);
        let index = codes.iter().position(|&known| known == code).unwrap_or_else(|| {
            codes.push(code);
            codes.len() - 1
        });
        operators.push(Operator {
            opcode_index: index as u32,
            inputs: Some(indices(&operator.inputs)),
            outputs: Some(vec![operator.output as i32]),
            builtin_options: operator.options,
            ..Operator::default()
        });
    }
    let mut about = Vec::new();
    if !metadata.labels.is_empty() {
        about.push((LABELS, metadata.labels.as_bytes().to_vec()));
    }
    if let Preprocessing::Normalize { mean, std } = metadata.preprocessing {
        about.push((PREPROCESSING, [mean, std].map(f32::to_le_bytes).concat()));
    }
    let about: Vec<MetadataTable> = about
        .into_iter()
        .map(|(name, bytes)| MetadataTable { name: Some(name.to_owned()), buffer: add_buffer(bytes) })
        .collect();
    let model = Model {
        version: 3,
        operator_codes: Some(
            codes
                .into_iter()
                .map(|(code, version)| OperatorCode {
                    deprecated_builtin_code: (code as i32).min(127) as i8,
                    custom_code: None,
                    version,
                    builtin_code: code as i32,
                })
                .collect(),
        ),
        subgraphs: Some(vec![SubGraph {
            tensors: Some(tensors),
            inputs: Some(indices(&tables.inputs)),
            outputs: Some(indices(&tables.outputs)),
            operators: Some(operators),
            name: Some("main".to_owned()),
            ..SubGraph::default()
        }]),
        description: Some(format!("{}, exported by smidgen {}", metadata.name, env!("CARGO_PKG_VERSION"))),
        metadata: Some(about),
        buffers: Some(buffers),
        ..Model::default()
    };
    to_file(&model)
}

fn indices(tensors: &[usize]) -> Vec<i32> {
    tensors.iter().map(|&tensor| tensor as i32).collect()
}
