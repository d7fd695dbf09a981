//! `AVERAGE_POOL_2D`, `MAX_POOL_2D`, `SOFTMAX`, `LOG_SOFTMAX`.

use smidgen::geometry::Window;
use smidgen::ops::activation::Activation;
use smidgen::ops::log_softmax::int8::{LogSoftmaxI8, OUTPUT as LOG_SOFTMAX_OUTPUT};
use smidgen::ops::softmax::int8::{MAX_ROW, OUTPUT as SOFTMAX_OUTPUT, SoftmaxI8};
use smidgen::quantization::Multiplier;
use smidgen::{Quantization, Shape};

use super::conv::rank_4;
use super::importer::{Importer, quantization};
use super::view::{Arithmetic, View, options};
use super::{Refusal, fused, unsupported};
use crate::graph::{Elementwise, GraphOp, Range, Role, TensorId, Value};

pub(super) fn average_pool_2d(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    pool(importer, view, |window, range| match range {
        None => GraphOp::AveragePool2d { window },
        Some(range) => GraphOp::AveragePool2dI8 { window, range },
    })
}

pub(super) fn max_pool_2d(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    pool(importer, view, |window, range| match range {
        None => GraphOp::MaxPool2d { window },
        Some(range) => GraphOp::MaxPool2dI8 { window, range },
    })
}

fn pool(
    importer: &mut Importer<'_, '_>,
    view: &View<'_, '_>,
    op: fn(Window, Option<Range>) -> GraphOp,
) -> Result<(), Refusal> {
    let options = options!(view, Pool2DOptions)?;
    let &[batch, height, width, _] = rank_4(view.input(0)?)?;
    if batch != 1 {
        return Err(unsupported(format!("it works on a batch of {batch}, expected 1")));
    }
    let padding = options.padding()?;
    let window = Window {
        y: fused::axis(padding, [options.filter_height()?, options.stride_h()?, 1], height as u32)?,
        x: fused::axis(padding, [options.filter_width()?, options.stride_w()?, 1], width as u32)?,
    };
    let fused = options.fused_activation_function()?;
    let input = importer.activation(view, 0)?;
    match view.arithmetic()? {
        Arithmetic::F32 => {
            let activation = fused::activation(fused)?;
            let output = importer.output(view, 0)?;
            if activation == Activation::None {
                return importer.push(view.node_name(), op(window, None), vec![input], output);
            }
            let computed = importer.tensor(output);
            let (shape, element_type) = (computed.shape, computed.element_type);
            let name = format!("{}/pool", view.node_name());
            let inner = importer.intermediate(name.clone(), shape, element_type, None);
            importer.push(name, op(window, None), vec![input], inner)?;
            importer.push(view.node_name(), GraphOp::Activation { activation }, vec![inner], output)
        }
        Arithmetic::I8 => {
            let range = fused::range(fused, quantization(view.output(0)?)?)?;
            let output = importer.output(view, 0)?;
            same_integers(importer, view, op(window, Some(range)), input, output)
        }
    }
}

/// Adds an int8 node that computes with integers as they are, whatever their scales: if the output has another quantization than the input, it is a view.
pub(super) fn same_integers(
    importer: &mut Importer<'_, '_>,
    view: &View<'_, '_>,
    op: GraphOp,
    input: TensorId,
    output: TensorId,
) -> Result<(), Refusal> {
    let from = importer.tensor(input).quantization;
    let computed = importer.tensor(output);
    if computed.quantization == from {
        return importer.push(view.node_name(), op, vec![input], output);
    }
    let (shape, element_type) = (computed.shape, computed.element_type);
    let inner = importer.intermediate(format!("{}/same", view.node_name()), shape, element_type, from);
    importer.push(view.node_name(), op, vec![input], inner)?;
    importer.push(format!("{}/rename", view.node_name()), GraphOp::Reshape, vec![inner], output)
}

pub(super) fn softmax(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let beta = options!(view, SoftmaxOptions)?.beta()?;
    let mut input = importer.activation(view, 0)?;
    let op = match view.arithmetic()? {
        Arithmetic::F32 => {
            if beta != 1.0 {
                input = scaled(importer, view, input, beta)?;
            }
            GraphOp::Softmax
        }
        Arithmetic::I8 => {
            let scale = of_rows(view, SOFTMAX_OUTPUT)?;
            let SoftmaxI8 { input_multiplier: multiplier, input_left_shift: shift, difference_min } =
                SoftmaxI8::with_beta(scale, beta).ok_or_else(|| too_small(scale))?;
            GraphOp::SoftmaxI8 {
                input: Multiplier { multiplier, shift },
                smallest_difference: difference_min,
            }
        }
    };
    let output = importer.output(view, 0)?;
    importer.push(view.node_name(), op, vec![input], output)
}

/// `beta` times an f32 activation.
fn scaled(
    importer: &mut Importer<'_, '_>,
    view: &View<'_, '_>,
    input: TensorId,
    beta: f32,
) -> Result<TensorId, Refusal> {
    if !beta.is_finite() {
        return Err(unsupported(format!("its beta is {beta}, expected a finite number")));
    }
    let tensor = importer.tensor(input);
    let (shape, element_type) = (tensor.shape, tensor.element_type);
    let (node, name) = (view.node_name(), format!("{}/scaled", view.node_name()));
    let factor =
        importer.constant(&node, "beta", Shape::vector(1), Role::Constant, Value::F32(vec![beta]))?;
    let output = importer.intermediate(name.clone(), shape, element_type, None);
    let op = GraphOp::Elementwise(Elementwise::Mul { activation: Activation::None });
    importer.push(name, op, vec![input, factor], output)?;
    Ok(output)
}

pub(super) fn log_softmax(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let input = importer.activation(view, 0)?;
    let op = match view.arithmetic()? {
        Arithmetic::F32 => GraphOp::LogSoftmax,
        Arithmetic::I8 => {
            let scale = of_rows(view, LOG_SOFTMAX_OUTPUT)?;
            let LogSoftmaxI8 { differences, reverse } =
                LogSoftmaxI8::new(scale).ok_or_else(|| too_small(scale))?;
            let SoftmaxI8 { input_multiplier: multiplier, input_left_shift: shift, difference_min } =
                differences;
            GraphOp::LogSoftmaxI8 {
                input: Multiplier { multiplier, shift },
                smallest_difference: difference_min,
                reverse,
            }
        }
    };
    let output = importer.output(view, 0)?;
    importer.push(view.node_name(), op, vec![input], output)
}

/// The scale of the input of an int8 softmax or log-softmax, whose output has to have this quantization.
fn of_rows(view: &View<'_, '_>, expected: Quantization) -> Result<f32, Refusal> {
    let output = quantization(view.output(0)?)?;
    if output != expected {
        return Err(unsupported(format!(
            "its output has scale {} and zero point {}, expected {} and {}",
            output.scale, output.zero_point, expected.scale, expected.zero_point
        )));
    }
    let row = view.input(0)?.dims.last().copied().unwrap_or(1);
    if row > MAX_ROW {
        return Err(unsupported(format!(
            "a row has {row} elements, whose exponentials can overflow their sum; at most {MAX_ROW} cannot"
        )));
    }
    Ok(quantization(view.input(0)?)?.scale)
}

fn too_small(scale: f32) -> Refusal {
    unsupported(format!("the input's scale {scale:e} is too small"))
}
