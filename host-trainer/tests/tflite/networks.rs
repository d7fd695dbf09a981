//! Small networks as tables.

use smidgen_tflite_schema::{
    Buffer, BuiltinOperator, BuiltinOptions, Model, Operator, OperatorCode, QuantizationParameters, SubGraph,
    Tensor, TensorType,
};

/// A network of one operator after another, each with one input.
pub(crate) struct Tables(pub(crate) Model);

impl Tables {
    /// A network with an int8 input of these dimensions.
    pub(crate) fn new(dims: &[i32]) -> Self {
        let input = tensor("input", dims);
        let subgraph = SubGraph {
            tensors: Some(vec![input]),
            inputs: Some(vec![0]),
            outputs: Some(vec![0]),
            operators: Some(vec![]),
            ..SubGraph::default()
        };
        Self(Model {
            version: 3,
            operator_codes: Some(vec![]),
            subgraphs: Some(vec![subgraph]),
            buffers: Some(vec![Buffer::default()]),
            ..Model::default()
        })
    }

    /// Adds an operator behind the last, which computes a tensor of these dimensions.
    pub(crate) fn then(
        mut self,
        code: BuiltinOperator,
        options: Option<BuiltinOptions>,
        dims: &[i32],
    ) -> Self {
        let codes = self.0.operator_codes.as_mut().unwrap();
        codes.push(OperatorCode {
            deprecated_builtin_code: (code as i32).min(127) as i8,
            custom_code: None,
            version: 2,
            builtin_code: code as i32,
        });
        let opcode_index = codes.len() as u32 - 1;
        let subgraph = self.subgraph();
        let tensors = subgraph.tensors.as_mut().unwrap();
        let (from, to) = (subgraph.outputs.as_ref().unwrap()[0], tensors.len() as i32);
        tensors.push(tensor(&format!("tensor_{to}"), dims));
        subgraph.outputs = Some(vec![to]);
        subgraph.operators.as_mut().unwrap().push(Operator {
            opcode_index,
            inputs: Some(vec![from]),
            outputs: Some(vec![to]),
            builtin_options: options,
            ..Operator::default()
        });
        self
    }

    pub(crate) fn subgraph(&mut self) -> &mut SubGraph {
        &mut self.0.subgraphs.as_mut().unwrap()[0]
    }

    pub(crate) fn tensor(&mut self, index: usize) -> &mut Tensor {
        &mut self.subgraph().tensors.as_mut().unwrap()[index]
    }

    pub(crate) fn operator(&mut self, index: usize) -> &mut Operator {
        &mut self.subgraph().operators.as_mut().unwrap()[index]
    }

    pub(crate) fn file(&self) -> Vec<u8> {
        smidgen_tflite_schema::to_file(&self.0)
    }
}

fn tensor(name: &str, dims: &[i32]) -> Tensor {
    let quantization = QuantizationParameters {
        scale: Some(vec![0.5]),
        zero_point: Some(vec![1]),
        ..QuantizationParameters::default()
    };
    Tensor {
        shape: Some(dims.to_vec()),
        type_: TensorType::Int8,
        name: Some(name.to_owned()),
        quantization: Some(Box::new(quantization)),
        ..Tensor::default()
    }
}
