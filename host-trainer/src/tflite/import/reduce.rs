//! Operators that reduce dimensions or resize images.

use smidgen::Shape;
use smidgen::ops::reduce::Params;
use smidgen::ops::reduce::float::Reduction;
use smidgen::ops::reduce::int8::Sum;
use smidgen::ops::resize_bilinear::Grid;

use super::importer::{Importer, quantization};
use super::movement::{axis, scalar, size};
use super::view::{Arithmetic, View, options};
use super::{Refusal, constant, describe_tensor, unsupported};
use crate::graph::{GraphOp, Reduce, ReduceKind, ResizeBilinear};

pub(super) fn mean(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    reduce(importer, view, Reduction::Mean)
}

pub(super) fn sum(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    reduce(importer, view, Reduction::Sum)
}

pub(super) fn max(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    reduce(importer, view, Reduction::Max)
}

pub(super) fn min(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    reduce(importer, view, Reduction::Min)
}

fn reduce(importer: &mut Importer<'_, '_>, view: &View<'_, '_>, reduction: Reduction) -> Result<(), Refusal> {
    let dims = dimensions(view)?;
    let mut reduced = vec![false; dims.len()];
    for &found in &constant::i32s(view.input(1)?)? {
        reduced[axis(found, dims.len())?] = true;
    }
    let elements: usize =
        dims.iter().zip(&reduced).filter(|&(_, reduced)| !reduced).map(|(dim, _)| dim).product();
    if view.output(0)?.elements() != Some(elements) {
        return Err(unsupported("the output has not one element for each that is left"));
    }
    let params = grouped(dims, &reduced)
        .ok_or_else(|| unsupported("the axes that are reduced lie between too many that are not"))?;
    let too_far = || unsupported("its scales are too far apart");
    let kind = match view.arithmetic()? {
        Arithmetic::F32 => ReduceKind::Float(reduction),
        Arithmetic::I8 => {
            let (from, to) = (quantization(view.input(0)?)?, quantization(view.output(0)?)?);
            match reduction {
                Reduction::Sum => ReduceKind::SumI8 {
                    factor: Sum::new(params, from, to).ok_or_else(too_far)?.factor,
                    mean: false,
                },
                Reduction::Mean => ReduceKind::SumI8 {
                    factor: Sum::mean(params, from, to).ok_or_else(too_far)?.factor,
                    mean: true,
                },
                Reduction::Max | Reduction::Min if from != to => {
                    return Err(unsupported("input and output have different quantizations"));
                }
                Reduction::Max => ReduceKind::ExtremeI8 { minimum: false },
                Reduction::Min => ReduceKind::ExtremeI8 { minimum: true },
            }
        }
    };
    push(importer, view, kind, params)
}

pub(super) fn arg_max(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    extreme_index(importer, view, false)
}

pub(super) fn arg_min(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    extreme_index(importer, view, true)
}

fn extreme_index(importer: &mut Importer<'_, '_>, view: &View<'_, '_>, minimum: bool) -> Result<(), Refusal> {
    let dims = dimensions(view)?;
    let axis = axis(scalar(view.input(1)?)?, dims.len())?;
    let (outer, inner) = (dims[..axis].iter().product(), dims[axis + 1..].iter().product());
    let params = Params { input: [outer, dims[axis], inner], axes: [false, true, false] };
    push(importer, view, ReduceKind::ArgMax { minimum }, params)
}

/// The dimensions of input 0, whose product is a number.
fn dimensions<'n>(view: &View<'n, '_>) -> Result<&'n [usize], Refusal> {
    let input = view.input(0)?;
    match input.elements() {
        Some(1..) => Ok(&input.dims),
        _ => Err(unsupported(format!("{} is empty or too large", describe_tensor(input)))),
    }
}

/// Adds a reduction of the input, seen as three dimensions, and sees its output as the file does.
fn push(
    importer: &mut Importer<'_, '_>,
    view: &View<'_, '_>,
    kind: ReduceKind,
    params: Params,
) -> Result<(), Refusal> {
    let of = |dims: [usize; 3]| {
        // No dimension is larger than the number of elements of a tensor in the graph.
        let [h, w, c] = dims.map(|dim| dim as u32);
        Shape([1, h, w, c])
    };
    let input = importer.activation(view, 0)?;
    let input = importer.reshaped(view, input, of(params.input))?;
    let output = importer.output(view, 0)?;
    let op = GraphOp::Reduce(Reduce { kind, axes: params.axes });
    let computed = importer.tensor(output).clone();
    if computed.shape == of(params.output()) {
        return importer.push(view.node_name(), op, vec![input], output);
    }
    let name = format!("{}/reduced", view.node_name());
    let (element_type, quantization) = (computed.element_type, computed.quantization);
    let inner = importer.intermediate(name, of(params.output()), element_type, quantization);
    importer.push(view.node_name(), op, vec![input], inner)?;
    importer.push(format!("{}/reshape", view.node_name()), GraphOp::Reshape, vec![inner], output)
}

/// The same reduction over three dimensions: neighbours that are both reduced or both left are one. `None` if there are more.
fn grouped(dims: &[usize], reduced: &[bool]) -> Option<Params> {
    let mut groups: Vec<(usize, bool)> = Vec::new();
    for (&dim, &reduced) in dims.iter().zip(reduced).filter(|&(&dim, _)| dim != 1) {
        match groups.last_mut() {
            Some((group, kind)) if *kind == reduced => *group *= dim,
            _ => groups.push((dim, reduced)),
        }
    }
    if groups.iter().all(|&(_, reduced)| !reduced) {
        // Nothing but ones is reduced.
        groups.insert(0, (1, true));
    }
    let missing = 3usize.checked_sub(groups.len())?;
    let mut params = Params { input: [1; 3], axes: [false; 3] };
    for (place, (dim, reduced)) in (missing..).zip(groups) {
        (params.input[place], params.axes[place]) = (dim, reduced);
    }
    Some(params)
}

pub(super) fn resize_bilinear(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let options = options!(view, ResizeBilinearOptions)?;
    let grid = match (options.align_corners()?, options.half_pixel_centers()?) {
        (false, false) => Grid::Plain,
        (true, false) => Grid::AlignCorners,
        (false, true) => Grid::HalfPixelCenters,
        (true, true) => return Err(unsupported("it aligns corners and has half pixel centres")),
    };
    let &[batch, ..] = super::conv::rank_4(view.input(0)?)?;
    if batch != 1 {
        return Err(unsupported(format!("it works on a batch of {batch}, expected 1")));
    }
    let [height, width] = size(view)?.map(|size| size as u32);
    let int8 = match view.arithmetic()? {
        Arithmetic::F32 => false,
        Arithmetic::I8 => true,
    };
    let op = GraphOp::ResizeBilinear(ResizeBilinear { grid, output: [height, width], int8 });
    let input = importer.activation(view, 0)?;
    let output = importer.output(view, 0)?;
    // It computes with integers as they are, whatever their scales.
    let input = importer.requantized_as(view, input, output)?;
    importer.push(view.node_name(), op, vec![input], output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_one_kind_are_one() {
        let found = |dims: &[usize], reduced: &[bool]| grouped(dims, reduced).map(|p| (p.input, p.axes));
        let (kept, gone) = (false, true);
        assert_eq!(found(&[1, 4, 5, 3], &[kept, gone, gone, kept]), Some(([1, 20, 3], [kept, gone, kept])));
        assert_eq!(found(&[2, 4, 5, 3], &[kept, gone, gone, kept]), Some(([2, 20, 3], [kept, gone, kept])));
        assert_eq!(found(&[2, 4, 5, 3], &[gone; 4]), Some(([1, 1, 120], [kept, kept, gone])));
        assert_eq!(found(&[1, 4], &[gone, kept]), Some(([1, 1, 4], [kept, gone, kept])));
        assert_eq!(found(&[4, 5, 6], &[gone, kept, gone]), Some(([4, 5, 6], [gone, kept, gone])));
        assert_eq!(found(&[2, 4, 5, 3], &[gone, kept, gone, kept]), None);
    }
}
