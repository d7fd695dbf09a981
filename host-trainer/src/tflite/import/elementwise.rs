//! Functions of one element, or of one element of each input.

use smidgen::Shape;
use smidgen::ops::activation::Activation;
use smidgen::ops::add::int8::AddI8;
use smidgen::ops::binary::int8::MulI8;
use smidgen::ops::binary::integer::IntegerFunction;
use smidgen::ops::broadcast::Broadcast;
use smidgen::ops::function::Function;
use smidgen::ops::int8::OutputRange;
use smidgen::ops::lookup::TABLE_ELEMENTS;
use smidgen::ops::prelu::PreluI8;
use smidgen_tflite_schema::{ActivationFunctionType as Fused, TensorType};

use super::constant::operand;
use super::importer::{Importer, quantization};
use super::sides::Sides;
use super::view::{Arithmetic, View, options};
use super::{Refusal, fused, unsupported};
use crate::graph::{Elementwise, GraphOp, Role, Value};
use crate::int8::{TableFunction, clamped_relu6, table};

fn too_far_apart() -> Refusal {
    unsupported("its scales are too far apart")
}

pub(super) fn add(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let fused = options!(view, AddOptions)?.fused_activation_function()?;
    binary(importer, view, fused, |arithmetic| match arithmetic {
        Operands::F32(activation) => Ok(GraphOp::Add { activation }),
        Operands::I8([left, right, output], range) => {
            let sum = AddI8::new(left, right, output, Activation::None).ok_or_else(too_far_apart)?;
            let [left, right] = sum.multipliers;
            let left_shift = sum.left_shift.cast_signed();
            let range = fused::to_range(range);
            Ok(GraphOp::AddI8 { left_shift, left, right, output: sum.output_multiplier, range })
        }
        Operands::I32 => Ok(integer(IntegerFunction::Add)),
    })
}

pub(super) fn sub(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let fused = options!(view, SubOptions)?.fused_activation_function()?;
    binary(importer, view, fused, |arithmetic| match arithmetic {
        Operands::F32(activation) => Ok(GraphOp::Elementwise(Elementwise::Sub { activation })),
        Operands::I8([left, right, output], range) => {
            let difference =
                AddI8::new_sub(left, right, output, Activation::None).ok_or_else(too_far_apart)?;
            Ok(GraphOp::Elementwise(Elementwise::SubI8(AddI8 { range, ..difference })))
        }
        Operands::I32 => Ok(integer(IntegerFunction::Sub)),
    })
}

pub(super) fn mul(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let fused = options!(view, MulOptions)?.fused_activation_function()?;
    binary(importer, view, fused, |arithmetic| match arithmetic {
        Operands::F32(activation) => Ok(GraphOp::Elementwise(Elementwise::Mul { activation })),
        Operands::I8([left, right, output], range) => {
            let product = MulI8::new(left, right, output, Activation::None).ok_or_else(too_far_apart)?;
            Ok(GraphOp::Elementwise(Elementwise::MulI8(MulI8 { range, ..product })))
        }
        Operands::I32 => Ok(integer(IntegerFunction::Mul)),
    })
}

pub(super) fn maximum(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    binary(importer, view, Fused::None, |arithmetic| match arithmetic {
        Operands::F32(activation) => Ok(GraphOp::Elementwise(Elementwise::Maximum { activation })),
        Operands::I8(..) => Ok(GraphOp::Elementwise(Elementwise::MaximumI8)),
        Operands::I32 => Ok(integer(IntegerFunction::Maximum)),
    })
}

pub(super) fn minimum(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    binary(importer, view, Fused::None, |arithmetic| match arithmetic {
        Operands::F32(activation) => Ok(GraphOp::Elementwise(Elementwise::Minimum { activation })),
        Operands::I8(..) => Ok(GraphOp::Elementwise(Elementwise::MinimumI8)),
        Operands::I32 => Ok(integer(IntegerFunction::Minimum)),
    })
}

pub(super) fn prelu(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    binary(importer, view, Fused::None, |arithmetic| match arithmetic {
        Operands::F32(_) => Ok(GraphOp::Elementwise(Elementwise::Prelu)),
        Operands::I8([input, alpha, output], _) => {
            let params = PreluI8::new(input, alpha, output).ok_or_else(too_far_apart)?;
            Ok(GraphOp::Elementwise(Elementwise::PreluI8(params)))
        }
        Operands::I32 => Err(unsupported("it works on int32, expected float32 or int8")),
    })
}

const fn integer(function: IntegerFunction) -> GraphOp {
    GraphOp::Elementwise(Elementwise::Integer { function })
}

/// What an operator of two inputs computes in.
enum Operands {
    /// With this activation.
    F32(Activation),
    /// With these quantizations of the inputs and the output, which is clamped to this range.
    I8([smidgen::Quantization; 3], OutputRange),
    /// i32, without an activation.
    I32,
}

fn binary(
    importer: &mut Importer<'_, '_>,
    view: &View<'_, '_>,
    activation: Fused,
    op: impl FnOnce(Operands) -> Result<GraphOp, Refusal>,
) -> Result<(), Refusal> {
    let (left, right, output) = (view.input(0)?, view.input(1)?, view.output(0)?);
    let types = [left, right, output].map(|tensor| tensor.element_type);
    let operands = match types {
        [TensorType::Float32, TensorType::Float32, TensorType::Float32] => {
            Operands::F32(fused::activation(activation)?)
        }
        [TensorType::Int8, TensorType::Int8, TensorType::Int8] => {
            let of = [quantization(left)?, quantization(right)?, quantization(output)?];
            Operands::I8(of, fused::output_range(activation, of[2])?)
        }
        [TensorType::Int32, TensorType::Int32, TensorType::Int32] if activation == Fused::None => {
            Operands::I32
        }
        _ => {
            return Err(unsupported(format!(
                "it works on {:?} and {:?} and gives {:?}, expected all float32, all int8 or, without an activation, all int32",
                types[0], types[1], types[2]
            )));
        }
    };
    let op = op(operands)?;
    let sides = [operand(importer, view, 0)?, operand(importer, view, 1)?];
    let shapes = sides.map(|id| importer.tensor(id).shape);
    let Sides { shapes: merged, output: merged_output } = Sides::of(&left.dims, &right.dims, &output.dims)
        .ok_or_else(|| {
            unsupported(format!(
                "its inputs have dimensions {:?} and {:?}, which do not broadcast in three parts to {:?}",
                left.dims, right.dims, output.dims
            ))
        })?;
    let computed = importer.output(view, 0)?;
    let shape = importer.tensor(computed).shape;
    let is_plain = [left, right, output].iter().all(|tensor| tensor.dims.len() < 4 || tensor.dims[0] == 1);
    if left.dims == right.dims
        || is_plain && output.dims.len() <= 4 && Broadcast::shape(shapes[0], shapes[1]) == Some(shape)
    {
        return importer.push(view.node_name(), op, sides.to_vec(), computed);
    }
    let [a, b] = sides;
    let inputs = vec![importer.reshaped(view, a, merged[0])?, importer.reshaped(view, b, merged[1])?];
    let (element_type, quantization) =
        (importer.tensor(computed).element_type, importer.tensor(computed).quantization);
    let name = format!("{}/merged", view.node_name());
    let inner = importer.intermediate(name.clone(), merged_output, element_type, quantization);
    importer.push(name, op, inputs, inner)?;
    importer.push(view.node_name(), GraphOp::Reshape, vec![inner], computed)
}

pub(super) fn relu(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    activation(importer, view, Activation::Relu)
}

pub(super) fn relu_n1_to_1(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    activation(importer, view, Activation::ReluN1To1)
}

pub(super) fn relu6(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    if view.arithmetic()? == Arithmetic::I8 {
        let table = clamped_relu6(quantization(view.input(0)?)?).ok_or_else(too_far_apart)?;
        return lookup_i8(importer, view, table);
    }
    activation(importer, view, Activation::Relu6)
}

pub(super) fn leaky_relu(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let alpha = options!(view, LeakyReluOptions)?.alpha()?;
    if !alpha.is_finite() {
        return Err(unsupported(format!("its alpha is {alpha}")));
    }
    if view.arithmetic()? == Arithmetic::F32 && !(0.0..=1.0).contains(&alpha) {
        // A slope for which the activation has no place.
        let input = importer.activation(view, 0)?;
        let value = Value::F32(vec![alpha]);
        let alpha = importer.constant(&view.node_name(), "alpha", Shape::vector(1), Role::Constant, value)?;
        let output = importer.output(view, 0)?;
        let op = GraphOp::Elementwise(Elementwise::Prelu);
        return importer.push(view.node_name(), op, vec![input, alpha], output);
    }
    activation(importer, view, Activation::LeakyRelu { alpha })
}

fn activation(
    importer: &mut Importer<'_, '_>,
    view: &View<'_, '_>,
    activation: Activation,
) -> Result<(), Refusal> {
    unary(importer, view, TableFunction::Activation(activation), GraphOp::Activation { activation })
}

fn function(importer: &mut Importer<'_, '_>, view: &View<'_, '_>, function: Function) -> Result<(), Refusal> {
    let op = GraphOp::Elementwise(Elementwise::Function { function });
    unary(importer, view, TableFunction::Function(function), op)
}

fn unary(
    importer: &mut Importer<'_, '_>,
    view: &View<'_, '_>,
    function: TableFunction,
    op: GraphOp,
) -> Result<(), Refusal> {
    let input = importer.activation(view, 0)?;
    match view.arithmetic()? {
        Arithmetic::F32 => {
            let output = importer.output(view, 0)?;
            importer.push(view.node_name(), op, vec![input], output)
        }
        Arithmetic::I8 => {
            let (from, to) = (quantization(view.input(0)?)?, quantization(view.output(0)?)?);
            let table = table(function, from, to)
                .ok_or_else(|| unsupported("the scales or the zero point of its output are out of range"))?;
            lookup_i8(importer, view, table)
        }
    }
}

pub(super) fn logistic(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    function(importer, view, Function::Logistic)
}

pub(super) fn tanh(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    function(importer, view, Function::Tanh)
}

pub(super) fn elu(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    function(importer, view, Function::Elu)
}

pub(super) fn hard_swish(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    function(importer, view, Function::HardSwish)
}

pub(super) fn gelu(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let approximate = options!(view, GeluOptions)?.approximate()?;
    function(importer, view, if approximate { Function::GeluTanh } else { Function::Gelu })
}

pub(super) fn abs(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    function(importer, view, Function::Abs)
}

pub(super) fn neg(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    function(importer, view, Function::Neg)
}

pub(super) fn exp(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    function(importer, view, Function::Exp)
}

pub(super) fn sqrt(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    function(importer, view, Function::Sqrt)
}

pub(super) fn rsqrt(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    function(importer, view, Function::Rsqrt)
}

pub(super) fn cast(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let input = importer.activation(view, 0)?;
    let output = importer.output(view, 0)?;
    let to = importer.tensor(output).element_type;
    importer.push(view.node_name(), GraphOp::Elementwise(Elementwise::Cast { to }), vec![input], output)
}

/// Adds a table of 256 values, entry `x + 128` for `x`, as the operator's node.
fn lookup_i8(
    importer: &mut Importer<'_, '_>,
    view: &View<'_, '_>,
    table: [i8; TABLE_ELEMENTS],
) -> Result<(), Refusal> {
    let node = view.node_name();
    let input = importer.activation(view, 0)?;
    let shape = Shape::vector(table.len() as u32);
    let table = importer.constant(&node, "table", shape, Role::Constant, Value::I8(table.to_vec()))?;
    let output = importer.output(view, 0)?;
    importer.push(node, GraphOp::LookupI8, vec![input, table], output)
}
