//! From tables to a graph, operator by operator.
//!
//! [`HANDLERS`] is the table of the operators: number and handler. A handler reads its operator through [`View`], asks the [`Importer`] for activations and
//! constants, and adds nodes. It answers with a [`Refusal`] for what it cannot do; all of them are reported together.
//!
//! Shapes: a graph's tensors are `[1, H, W, C]`. A tensor of TensorFlow Lite's is aligned at its last dimension (`[T, C]` is `[1, 1, T, C]`), and what
//! does not fit, a batch or a rank above four, is merged into `H`. Handlers see the file's dimensions, see [`View::dims`].

mod constant;
mod conv;
mod elementwise;
mod fold_constants;
mod fused;
mod importer;
mod movement;
mod pool;
mod quantize;
mod recurrent;
mod reduce;
mod sides;
mod slices;
mod state;
mod view;

use smidgen_tflite_schema::BuiltinOperator as Op;

use self::fold_constants::fold_constants;
use self::importer::Importer;
use self::view::View;
use super::error::{ImportError, UnsupportedOperator};
use super::net::{Net, NetTensor, operator_name, shortened};
use crate::graph::Graph;

/// Why an operator was not imported.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It cannot be done here. Gathered, to be reported together.
    Unsupported(String),
    /// The file is broken. Reported at once.
    Broken(ImportError),
}

impl<E: Into<ImportError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Broken(error.into())
    }
}

/// What an activation leaves of an int8 output; `None` if it is not one that can be fused.
pub(super) fn fused_range(
    fused: smidgen_tflite_schema::ActivationFunctionType,
    output: smidgen::Quantization,
) -> Option<crate::graph::Range> {
    fused::range(fused, output).ok()
}

/// For `return Err(…)`.
pub(super) fn unsupported(reason: impl Into<String>) -> Refusal {
    Refusal::Unsupported(reason.into())
}

type Handler = fn(&mut Importer<'_, '_>, &View<'_, '_>) -> Result<(), Refusal>;

/// What can be imported.
const HANDLERS: &[(Op, Handler)] = &[
    // conv.rs
    (Op::Conv2d, conv::conv_2d),
    (Op::DepthwiseConv2d, conv::depthwise_conv_2d),
    (Op::FullyConnected, conv::fully_connected),
    (Op::TransposeConv, conv::transpose_conv),
    // pool.rs
    (Op::AveragePool2d, pool::average_pool_2d),
    (Op::MaxPool2d, pool::max_pool_2d),
    (Op::Softmax, pool::softmax),
    (Op::LogSoftmax, pool::log_softmax),
    // elementwise.rs
    (Op::Add, elementwise::add),
    (Op::Sub, elementwise::sub),
    (Op::Mul, elementwise::mul),
    (Op::Maximum, elementwise::maximum),
    (Op::Minimum, elementwise::minimum),
    (Op::Relu, elementwise::relu),
    (Op::Relu6, elementwise::relu6),
    (Op::ReluN1To1, elementwise::relu_n1_to_1),
    (Op::LeakyRelu, elementwise::leaky_relu),
    (Op::Prelu, elementwise::prelu),
    (Op::Logistic, elementwise::logistic),
    (Op::Tanh, elementwise::tanh),
    (Op::Elu, elementwise::elu),
    (Op::HardSwish, elementwise::hard_swish),
    (Op::Gelu, elementwise::gelu),
    (Op::Abs, elementwise::abs),
    (Op::Neg, elementwise::neg),
    (Op::Exp, elementwise::exp),
    (Op::Sqrt, elementwise::sqrt),
    (Op::Rsqrt, elementwise::rsqrt),
    (Op::Cast, elementwise::cast),
    // recurrent.rs
    (Op::UnidirectionalSequenceLstm, recurrent::lstm),
    (Op::Svdf, recurrent::svdf),
    // quantize.rs
    (Op::Quantize, quantize::quantize),
    (Op::Dequantize, quantize::dequantize),
    // movement.rs
    (Op::Reshape, movement::reshape),
    (Op::Squeeze, movement::reshape),
    (Op::ExpandDims, movement::reshape),
    (Op::Shape, movement::shape_of),
    (Op::Concatenation, movement::concatenation),
    (Op::Split, movement::split),
    (Op::SplitV, movement::split_v),
    (Op::Unpack, movement::unpack),
    (Op::Pack, movement::pack),
    (Op::Slice, movement::slice),
    (Op::StridedSlice, movement::strided_slice),
    (Op::Pad, movement::pad),
    (Op::Padv2, movement::pad),
    (Op::MirrorPad, movement::mirror_pad),
    (Op::Transpose, movement::transpose),
    (Op::DepthToSpace, movement::depth_to_space),
    (Op::SpaceToDepth, movement::space_to_depth),
    (Op::ResizeNearestNeighbor, movement::resize_nearest_neighbor),
    // reduce.rs
    (Op::Mean, reduce::mean),
    (Op::Sum, reduce::sum),
    (Op::ReduceMax, reduce::max),
    (Op::ReduceMin, reduce::min),
    (Op::ArgMax, reduce::arg_max),
    (Op::ArgMin, reduce::arg_min),
    (Op::ResizeBilinear, reduce::resize_bilinear),
    // state.rs
    (Op::VarHandle, state::var_handle),
    (Op::ReadVariable, state::read_variable),
    (Op::AssignVariable, state::assign_variable),
    (Op::CallOnce, state::call_once),
];

/// Names of the operators that can be imported.
pub fn operator_names() -> Vec<String> {
    HANDLERS.iter().map(|(op, _)| operator_name(*op as i32)).collect()
}

/// A network that was imported.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The network.
    pub graph: Graph,
    /// Names of the inputs, as the file has them.
    pub input_names: Vec<String>,
    /// Names of the outputs.
    pub output_names: Vec<String>,
}

/// The graph of a network, named `name`.
///
/// # Errors
/// [`ImportError::Unsupported`] lists every operator that cannot be imported; other errors are the first of their kind.
pub fn import(net: &Net<'_>, name: &str) -> Result<Imported, ImportError> {
    let mut subgraph = net.subgraphs[0].clone();
    let folded = fold_constants(&mut subgraph, net.file_bytes);
    let subgraph = &subgraph;
    let mut importer = Importer::new(net, subgraph, name)?;
    let mut refused = Vec::new();
    for (index, operator) in subgraph.operators.iter().enumerate() {
        if folded.binary_search(&index).is_ok() {
            continue;
        }
        let view = View::new(subgraph, index, operator);
        let handler = HANDLERS.iter().find(|(op, _)| *op as i32 == operator.code);
        let outcome = match handler {
            Some((_, handler)) => handler(&mut importer, &view),
            None => Err(unsupported("there is no such operator here")),
        };
        match outcome {
            Ok(()) => {}
            Err(Refusal::Broken(error)) => return Err(error),
            Err(Refusal::Unsupported(reason)) => {
                importer.pretend(&view);
                refused.push(describe(&view, reason));
            }
        }
    }
    if !refused.is_empty() {
        let operators = net.subgraphs.iter().map(|subgraph| subgraph.operators.len()).sum();
        return Err(ImportError::Unsupported { unsupported: refused, operators });
    }
    let names = |tensors: &[usize]| {
        tensors.iter().map(|&index| subgraph.tensors[index].name.clone()).collect::<Vec<_>>()
    };
    let (input_names, output_names) = (names(&subgraph.inputs), names(&subgraph.outputs));
    Ok(Imported { graph: importer.finish()?, input_names, output_names })
}

/// An entry of the list of what is unsupported. Its length does not depend on the file's.
fn describe(view: &View<'_, '_>, reason: String) -> UnsupportedOperator {
    const MOST: usize = 8;
    let list = |mut tensors: Vec<String>, count: usize| {
        if count > MOST {
            tensors.push(format!("and {} more", count - MOST));
        }
        tensors
    };
    let inputs = view.operator.inputs.iter().take(MOST).map(|input| match input {
        Some(index) => describe_tensor(&view.subgraph.tensors[*index]),
        None => "nothing".to_owned(),
    });
    let outputs = view.operator.outputs.iter().take(MOST);
    let outputs = outputs.map(|&index| describe_tensor(&view.subgraph.tensors[index]));
    UnsupportedOperator {
        subgraph: 0,
        index: view.index,
        name: view.operator.name(),
        version: view.operator.version,
        inputs: list(inputs.collect(), view.operator.inputs.len()),
        outputs: list(outputs.collect(), view.operator.outputs.len()),
        reason,
    }
}

/// Name, type and dimensions of a tensor, for a message.
pub(super) fn describe_tensor(tensor: &NetTensor<'_>) -> String {
    let element_type = format!("{:?}", tensor.element_type).to_uppercase();
    format!("{:?} {element_type}{:?}", shortened(&tensor.name), tensor.dims)
}
