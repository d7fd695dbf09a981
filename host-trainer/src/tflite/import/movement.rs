//! Operators that move elements and compute nothing. Quantizations are not looked at, as TensorFlow Lite Micro does not either.

use smidgen_tflite_schema::{MirrorPadMode, TensorType};

use super::importer::{Importer, quantization};
use super::slices::Slices;
use super::view::{View, options, shape};
use super::{Refusal, constant, describe_tensor, unsupported};
use crate::graph::{Gather, GraphOp, Movement, MovementKind, Role, TensorId, Value, movement};
use crate::tflite::net::NetTensor;

/// `RESHAPE`, `SQUEEZE`, `EXPAND_DIMS`: the file says what dimensions the output has.
pub(super) fn reshape(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let input = importer.activation(view, 0)?;
    let (from, to) = (view.input(0)?, view.output(0)?);
    if from.element_type != to.element_type {
        return Err(unsupported("input and output have different types"));
    }
    let output = importer.output(view, 0)?;
    importer.push(view.node_name(), GraphOp::Reshape, vec![input], output)
}

/// `SHAPE`, whose output is known: what is computed of it is dropped if it is nothing but the shape of a `RESHAPE`, which the file says anyway.
pub(super) fn shape_of(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let dims = view.input(0)?.dims.iter().map(|&dim| i32::try_from(dim).unwrap_or(i32::MAX)).collect();
    let shape = shape(view.output(0)?).ok_or_else(|| unsupported("its input has no dimensions"))?;
    let value = Value::I32(dims);
    if shape.elements() != Some(value.len()) || view.output(0)?.element_type != TensorType::Int32 {
        return Err(does_not_fit(view)?);
    }
    let id = importer.constant(&view.node_name(), "shape", shape, Role::Constant, value)?;
    importer.alias(view, 0, id)
}

pub(super) fn concatenation(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let options = options!(view, ConcatenationOptions)?;
    let fused = options.fused_activation_function()?;
    if super::fused::activation(fused)? != smidgen::ops::activation::Activation::None {
        return Err(unsupported("it has a fused activation"));
    }
    let axis = axis(options.axis()?, view.output(0)?.dims.len())?;
    let count = view.operator.inputs.len();
    let dims =
        (0..count).map(|input| Ok(view.input(input)?.dims.clone())).collect::<Result<Vec<_>, Refusal>>()?;
    let moved = Movement::concatenation(&dims, axis);
    let inputs =
        (0..count).map(|input| constant::operand(importer, view, input)).collect::<Result<_, _>>()?;
    push(importer, view, 0, inputs, moved)
}

pub(super) fn split(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    parts(importer, view, 1, scalar(view.input(0)?)?)
}

pub(super) fn split_v(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    parts(importer, view, 0, scalar(view.input(2)?)?)
}

/// The outputs, one after the other along an axis of input `position`.
fn parts(
    importer: &mut Importer<'_, '_>,
    view: &View<'_, '_>,
    position: usize,
    along: i32,
) -> Result<(), Refusal> {
    let dims = &view.input(position)?.dims;
    let axis = axis(along, dims.len())?;
    let input = constant::operand(importer, view, position)?;
    let mut start = 0;
    for output in 0..view.operator.outputs.len() {
        let part = &view.output(output)?.dims;
        let count = part.get(axis).copied().unwrap_or(0);
        let mut ranges: Vec<_> = dims.iter().map(|&dim| (0, 1, dim)).collect();
        ranges[axis] = (start, 1, count);
        start += count as i64;
        let moved = Movement::slice(MovementKind::Split, dims, &ranges, part);
        push(importer, view, output, vec![input], moved.map(|moved| (moved, part.clone())))?;
    }
    if start == dims[axis] as i64 { Ok(()) } else { Err(unsupported("the parts are not the whole")) }
}

pub(super) fn unpack(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let dims = &view.input(0)?.dims;
    let axis = axis(options!(view, UnpackOptions)?.axis()?, dims.len())?;
    let input = constant::operand(importer, view, 0)?;
    if view.operator.outputs.len() != dims[axis] {
        return Err(unsupported(format!(
            "it has {} outputs, expected {}",
            view.operator.outputs.len(),
            dims[axis]
        )));
    }
    for output in 0..dims[axis] {
        let mut ranges: Vec<_> = dims.iter().map(|&dim| (0, 1, dim)).collect();
        ranges[axis] = (output as i64, 1, 1);
        let mut part = dims.clone();
        part.remove(axis);
        let moved = Movement::slice(MovementKind::Unpack, dims, &ranges, &part);
        push(importer, view, output, vec![input], moved.map(|moved| (moved, part)))?;
    }
    Ok(())
}

pub(super) fn pack(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let dims = &view.input(0)?.dims;
    let axis = axis(options!(view, PackOptions)?.axis()?, dims.len() + 1)?;
    let count = view.operator.inputs.len();
    for input in 1..count {
        if view.input(input)?.dims != *dims {
            return Err(unsupported("its inputs have different dimensions"));
        }
    }
    let moved = Movement::pack(dims, axis, count);
    let inputs =
        (0..count).map(|input| constant::operand(importer, view, input)).collect::<Result<_, _>>()?;
    push(importer, view, 0, inputs, moved)
}

pub(super) fn slice(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let dims = &view.input(0)?.dims;
    let (begin, size) = (constant::i32s(view.input(1)?)?, constant::i32s(view.input(2)?)?);
    if begin.len() != dims.len() || size.len() != dims.len() {
        return Err(unsupported("begin and size have not an element for each dimension"));
    }
    let ranges: Vec<(i64, i64, usize)> = dims
        .iter()
        .zip(begin.iter().zip(&size))
        .map(|(&dim, (&begin, &size))| {
            // A size of -1 is all the rest.
            let rest = (dim as i64 - i64::from(begin)).max(0);
            let count = if size == -1 { rest } else { i64::from(size).max(0) };
            (i64::from(begin), 1, count as usize)
        })
        .collect();
    let part: Vec<usize> = ranges.iter().map(|&(_, _, count)| count).collect();
    let moved = Movement::slice(MovementKind::Slice, dims, &ranges, &part);
    let input = constant::operand(importer, view, 0)?;
    push(importer, view, 0, vec![input], moved.map(|moved| (moved, part)))
}

pub(super) fn strided_slice(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let dims = &view.input(0)?.dims;
    let Slices { ranges, output } = Slices::of(view, dims)?;
    let moved = Movement::slice(MovementKind::StridedSlice, dims, &ranges, &output);
    let input = constant::operand(importer, view, 0)?;
    push(importer, view, 0, vec![input], moved.map(|moved| (moved, output)))
}

/// `PAD`, whose value is zero, and `PADV2`.
pub(super) fn pad(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let amounts = amounts(view)?;
    let bits = match (view.optional_input(2), view.output(0)?) {
        (Some(value), _) => bits(value)?,
        (None, output) if output.element_type == TensorType::Float32 => 0,
        (None, output) if output.quantization.is_some() => quantization(output)?.zero_point,
        (None, _) => 0,
    };
    let moved = Movement::pad(&view.input(0)?.dims, &amounts, bits);
    let input = constant::operand(importer, view, 0)?;
    push(importer, view, 0, vec![input], moved)
}

pub(super) fn mirror_pad(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let reflect = options!(view, MirrorPadOptions)?.mode()? == MirrorPadMode::Reflect;
    let moved = Movement::mirror_pad(&view.input(0)?.dims, &amounts(view)?, reflect);
    let input = constant::operand(importer, view, 0)?;
    push(importer, view, 0, vec![input], moved)
}

/// How much before and after each dimension: input 1.
fn amounts(view: &View<'_, '_>) -> Result<Vec<(usize, usize)>, Refusal> {
    let numbers = constant::i32s(view.input(1)?)?;
    let amount = |&number: &i32| usize::try_from(number).map_err(|_| unsupported("it takes elements away"));
    numbers.as_chunks::<2>().0.iter().map(|[before, after]| Ok((amount(before)?, amount(after)?))).collect()
}

pub(super) fn transpose(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let dims = &view.input(0)?.dims;
    let order = constant::i32s(view.input(1)?)?;
    let order = order.iter().map(|&from| axis(from, dims.len())).collect::<Result<Vec<_>, _>>()?;
    let moved = Movement::transpose(dims, &order);
    let input = constant::operand(importer, view, 0)?;
    push(importer, view, 0, vec![input], moved)
}

pub(super) fn depth_to_space(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let block = options!(view, DepthToSpaceOptions)?.block_size()?;
    depth_and_space(importer, view, block, true)
}

pub(super) fn space_to_depth(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let block = options!(view, SpaceToDepthOptions)?.block_size()?;
    depth_and_space(importer, view, block, false)
}

fn depth_and_space(
    importer: &mut Importer<'_, '_>,
    view: &View<'_, '_>,
    block: i32,
    to_space: bool,
) -> Result<(), Refusal> {
    let &[n, h, w, c] = super::conv::rank_4(view.input(0)?)?;
    let block = usize::try_from(block).unwrap_or(0);
    let moved = Movement::depth_and_space([n, h, w, c], block, to_space);
    let input = constant::operand(importer, view, 0)?;
    push(importer, view, 0, vec![input], moved.map(|(moved, dims)| (moved, dims.to_vec())))
}

pub(super) fn resize_nearest_neighbor(
    importer: &mut Importer<'_, '_>,
    view: &View<'_, '_>,
) -> Result<(), Refusal> {
    let options = options!(view, ResizeNearestNeighborOptions)?;
    let (align_corners, half_pixel_centers) = (options.align_corners()?, options.half_pixel_centers()?);
    let &[n, h, w, c] = super::conv::rank_4(view.input(0)?)?;
    let [out_h, out_w] = size(view)?;
    if view.output(0)?.dims != [n, out_h, out_w, c]
        || view.input(0)?.element_type != view.output(0)?.element_type
    {
        return Err(does_not_fit(view)?);
    }
    let output = shape(view.output(0)?).ok_or_else(|| unsupported("the output is empty or too large"))?;
    importer.take((n * out_h + out_w).saturating_mul(4))?;
    // A batch is merged into the rows.
    let rows = movement::nearest(h, out_h, align_corners, half_pixel_centers);
    let rows = (0..n).flat_map(|sample| rows.iter().map(move |row| (sample * h) as i32 + row));
    let columns = movement::nearest(w, out_w, align_corners, half_pixel_centers);
    let table: Vec<i32> = rows.chain(columns).collect();
    let [_, dims @ ..] = output.0;
    let op = GraphOp::Gather(Gather {
        kind: MovementKind::ResizeNearestNeighbor,
        axes: [true, true, false],
        output: dims,
    });
    let (node, input) = (view.node_name(), constant::operand(importer, view, 0)?);
    let shape = smidgen::Shape::vector(table.len() as u32);
    let table = importer.constant(&node, "table", shape, Role::Constant, Value::I32(table))?;
    let output = importer.output(view, 0)?;
    importer.push(node, op, vec![input, table], output)
}

/// Height and width of a resized image: input 1.
pub(super) fn size(view: &View<'_, '_>) -> Result<[usize; 2], Refusal> {
    let found: Vec<usize> =
        constant::i32s(view.input(1)?)?.iter().filter_map(|&size| usize::try_from(size).ok()).collect();
    found.try_into().map_err(|_| unsupported("its size is not a height and a width"))
}

/// Adds what computes output `position`, if it fits what the file says of that.
fn push(
    importer: &mut Importer<'_, '_>,
    view: &View<'_, '_>,
    position: usize,
    inputs: Vec<TensorId>,
    moved: Option<(Movement, Vec<usize>)>,
) -> Result<(), Refusal> {
    let computed = view.output(position)?;
    let Some((moved, _)) = moved.filter(|(_, dims)| *dims == computed.dims) else {
        return Err(does_not_fit(view)?);
    };
    let name = match position {
        0 => view.node_name(),
        _ => format!("{}/output_{position}", view.node_name()),
    };
    let output = importer.output(view, position)?;
    importer.push(name, GraphOp::Movement(moved), inputs, output)
}

fn does_not_fit(view: &View<'_, '_>) -> Result<Refusal, Refusal> {
    let output = describe_tensor(view.output(0)?);
    Ok(unsupported(format!("its inputs and options do not give the output {output}")))
}

/// An axis of a tensor of `rank` dimensions; a negative one is counted from the end.
pub(super) fn axis(found: i32, rank: usize) -> Result<usize, Refusal> {
    let from_start = if found < 0 { i64::from(found) + rank as i64 } else { i64::from(found) };
    let axis = usize::try_from(from_start).ok().filter(|&axis| axis < rank);
    axis.ok_or_else(|| unsupported(format!("axis {found} is not there: the tensor has {rank}")))
}

/// The one element of an int32 constant.
pub(super) fn scalar(tensor: &NetTensor<'_>) -> Result<i32, Refusal> {
    match constant::i32s(tensor)?.as_slice() {
        &[value] => Ok(value),
        _ => Err(unsupported(format!("{} is not one number", describe_tensor(tensor)))),
    }
}

/// The bits of the one element of a constant.
fn bits(tensor: &NetTensor<'_>) -> Result<i32, Refusal> {
    let bits: Vec<i32> = match tensor.element_type {
        TensorType::Float32 => constant::f32s(tensor)?.iter().map(|x| x.to_bits().cast_signed()).collect(),
        TensorType::Int8 => constant::i8s(tensor)?.into_iter().map(i32::from).collect(),
        _ => constant::i32s(tensor)?,
    };
    match bits.as_slice() {
        &[bits] => Ok(bits),
        _ => Err(unsupported(format!("{} is not one number", describe_tensor(tensor)))),
    }
}
