//! Layers that move elements and compute nothing.

mod strided;
#[cfg(test)]
mod tests;

use smidgen::ops::movement::copy;
use smidgen::{ElementType, Operator, Shape};

use super::error::Problem;
use super::structure::Tensor;
pub use strided::{Strided, aligned};

/// The most steps that one layer becomes.
pub const MAX_STEPS: usize = 256;

/// What a movement is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names are TensorFlow Lite's")]
pub enum MovementKind {
    Concatenation,
    Split,
    Slice,
    StridedSlice,
    Pad,
    MirrorPad,
    Transpose,
    Pack,
    Unpack,
    DepthToSpace,
    SpaceToDepth,
    ResizeNearestNeighbor,
    Gather,
}

impl MovementKind {
    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Concatenation => "concatenation",
            Self::Split => "split",
            Self::Slice => "slice",
            Self::StridedSlice => "strided_slice",
            Self::Pad => "pad",
            Self::MirrorPad => "mirror_pad",
            Self::Transpose => "transpose",
            Self::Pack => "pack",
            Self::Unpack => "unpack",
            Self::DepthToSpace => "depth_to_space",
            Self::SpaceToDepth => "space_to_depth",
            Self::ResizeNearestNeighbor => "resize_nearest_neighbor",
            Self::Gather => "gather",
        }
    }
}

/// Elements of one input that go somewhere in the output. Source and destination have the same dimensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Index of the input.
    pub input: usize,
    /// Where they are in the input.
    pub source: Strided,
    /// Where they go in the output.
    pub destination: Strided,
}

impl Transfer {
    /// The elements of `source`, an input, to `destination`, in the fewest dimensions: neighbours that follow each other on both sides are one,
    /// and the destination's strides descend.
    pub fn new(input: usize, source: Strided, destination: Strided) -> Self {
        let (source, destination) = strided::joined(source, destination);
        Self { input, source, destination }
    }

    /// The elements back from where they went.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self::new(self.input, self.destination.clone(), self.source.clone())
    }

    /// The copies that make it: blocks of four dimensions. `None` if there are more than [`MAX_STEPS`].
    fn copies(&self) -> Option<Vec<copy::Params>> {
        let (mut sources, mut destinations) = (vec![self.source.clone()], vec![self.destination.clone()]);
        while sources[0].dims.len() > 4 {
            // Unrolls the shortest dimension.
            let axis = (0..sources[0].dims.len()).min_by_key(|&axis| sources[0].dims[axis])?;
            if sources.len().checked_mul(sources[0].dims[axis])? > MAX_STEPS {
                return None;
            }
            sources = sources.iter().flat_map(|part| part.unrolled(axis)).collect();
            destinations = destinations.iter().flat_map(|part| part.unrolled(axis)).collect();
        }
        sources.into_iter().zip(destinations).map(|(from, to)| strided::block(&from, &to)).collect()
    }
}

/// A layer whose output is made of elements of its inputs, each where a transfer puts it, and of one value everywhere else.
#[derive(Clone, Debug, PartialEq)]
pub struct Movement {
    /// What it is called.
    pub kind: MovementKind,
    /// Shape of the output.
    pub output: Shape,
    /// The bits of the value of what no transfer reaches; `None` if they reach everything.
    pub fill: Option<i32>,
    /// What goes where, in this order.
    pub transfers: Vec<Transfer>,
}

/// A step of a node: an operator, its attributes, and which of the node's inputs it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The operator.
    pub operator: Operator,
    /// Its attributes.
    pub attributes: Vec<i32>,
    /// Indices of the inputs that it reads.
    pub reads: Vec<usize>,
}

impl Movement {
    /// Shape and element type of the output; all inputs have one type.
    ///
    /// # Errors
    /// What about the inputs does not fit.
    pub(super) fn output(&self, inputs: &[&Tensor]) -> Result<(Shape, ElementType), Problem> {
        let Some(first) = inputs.first() else {
            return Err(Problem::InputCount { expected: "1 or more", found: 0 });
        };
        if let Some(other) = inputs.iter().find(|input| input.element_type != first.element_type) {
            let (found, expected) = (other.element_type, first.element_type);
            return Err(Problem::ElementType { what: "an input", found, expected });
        }
        let elements =
            self.output.elements().ok_or(Problem::TooLarge { what: "the output", shape: self.output })?;
        let mut reached = 0usize;
        for transfer in &self.transfers {
            let Some(input) = inputs.get(transfer.input) else {
                return Err(Problem::InputCount { expected: "more", found: inputs.len() });
            };
            let length = input.shape.elements().unwrap_or(0);
            let same = transfer.source.dims == transfer.destination.dims;
            if !same || !transfer.source.fits(length) || !transfer.destination.fits(elements) {
                return Err(Problem::Movement { input: input.shape, output: self.output });
            }
            reached = reached.saturating_add(transfer.source.elements());
        }
        if self.fill.is_none() && reached != elements {
            return Err(Problem::Number {
                what: "the number of elements that reach the output",
                found: reached,
                expected: "that of its elements",
            });
        }
        if self.steps().is_none() {
            return Err(Problem::Number {
                what: "the number of steps that move its elements",
                found: MAX_STEPS + 1,
                expected: "at most 256; use fewer dimensions",
            });
        }
        Ok((self.output, first.element_type))
    }

    /// The steps that make it; `None` if there are more than [`MAX_STEPS`].
    pub fn steps(&self) -> Option<Vec<Part>> {
        let fill =
            self.fill.map(|bits| Part { operator: Operator::Fill, attributes: vec![bits], reads: vec![] });
        let mut parts: Vec<Part> = fill.into_iter().collect();
        for transfer in &self.transfers {
            parts.extend(copies(Operator::Copy, transfer)?);
            if parts.len() > MAX_STEPS {
                return None;
            }
        }
        Some(parts)
    }

    /// Whether the output is the first input, element by element, so that it needs no step.
    pub fn is_view(&self) -> bool {
        match self.transfers.as_slice() {
            [only] => self.fill.is_none() && only.input == 0 && only.source == only.destination,
            _ => false,
        }
    }

    /// The steps that carry a gradient of the output back to input `input`, of `elements` elements; they read the gradient of the output as their
    /// input 0 and write that of the input.
    pub fn gradient(&self, input: usize, elements: usize) -> Option<Vec<Part>> {
        let back: Vec<Transfer> = self
            .transfers
            .iter()
            .filter(|transfer| transfer.input == input)
            .map(|transfer| Transfer { input: 0, ..transfer.reversed() })
            .collect();
        // Each element once, or nothing but some of them once.
        let once = back.len() == 1 && back[0].destination.is_injective();
        let all = once && back[0].destination.elements() == elements;
        let operator = if once { Operator::Copy } else { Operator::CopyAdd };
        let fill = Part { operator: Operator::Fill, attributes: vec![0], reads: vec![] };
        let mut parts = if all { vec![] } else { vec![fill] };
        for transfer in &back {
            parts.extend(copies(operator, transfer)?);
        }
        Some(parts)
    }

    /// The elements of `inputs`, whose dimensions differ in `axis` only, one after the other along it; and the output's dimensions.
    pub fn concatenation(inputs: &[Vec<usize>], axis: usize) -> Option<(Self, Vec<usize>)> {
        let mut dims = inputs.first()?.clone();
        dims.get(axis)?;
        dims[axis] = 0;
        for input in inputs {
            let same = input.iter().zip(&dims).enumerate().all(|(i, (a, b))| i == axis || a == b);
            if input.len() != dims.len() || !same {
                return None;
            }
            dims[axis] = dims[axis].checked_add(input[axis])?;
        }
        let (output, mut start) = (Strided::whole(&dims)?, 0);
        let mut transfers = Vec::new();
        for (input, extents) in inputs.iter().enumerate() {
            let place = output.clone().sliced(axis, start as i64, 1, extents[axis]);
            transfers.push(Transfer::new(input, Strided::whole(extents)?, place));
            start += extents[axis];
        }
        Some((Self::of(MovementKind::Concatenation, &dims, None, transfers)?, dims))
    }

    /// What is at `start + i * step` of each dimension, for `i` below `count`, in a tensor of `dims` dimensions. The output has `output` dimensions.
    pub fn slice(
        kind: MovementKind,
        dims: &[usize],
        ranges: &[(i64, i64, usize)],
        output: &[usize],
    ) -> Option<Self> {
        let mut source = Strided::whole(dims)?;
        for (axis, &(start, step, count)) in ranges.iter().enumerate() {
            source = source.sliced(axis, start, step, count);
        }
        let destination = Strided::whole(&source.dims)?;
        if ranges.len() != dims.len() || destination.elements() != Strided::whole(output)?.elements() {
            return None;
        }
        Self::of(kind, output, None, vec![Transfer::new(0, source, destination)])
    }

    /// A tensor of `dims` dimensions with so many elements of value `bits` before and after it along each; and the output's dimensions.
    pub fn pad(dims: &[usize], amounts: &[(usize, usize)], bits: i32) -> Option<(Self, Vec<usize>)> {
        let padded = padded(dims, amounts)?;
        let mut place = Strided::whole(&padded)?;
        for (axis, (&count, &(before, _))) in dims.iter().zip(amounts).enumerate() {
            place = place.sliced(axis, i64::try_from(before).ok()?, 1, count);
        }
        let fill = (padded != dims).then_some(bits);
        let transfers = vec![Transfer::new(0, Strided::whole(dims)?, place)];
        Some((Self::of(MovementKind::Pad, &padded, fill, transfers)?, padded))
    }

    /// As [`pad`](Self::pad), with the mirrored elements instead of a value: `reflect` leaves out the edge itself.
    pub fn mirror_pad(
        dims: &[usize],
        amounts: &[(usize, usize)],
        reflect: bool,
    ) -> Option<(Self, Vec<usize>)> {
        let padded = padded(dims, amounts)?;
        let skip = usize::from(reflect);
        let mut parts = vec![(Strided::whole(dims)?, Strided::whole(&padded)?)];
        for (axis, (&count, &(before, after))) in dims.iter().zip(amounts).enumerate() {
            if before.max(after) + skip > count {
                return None;
            }
            // From where, in which direction and how many; and where they go.
            let mirrored = [
                (before + skip, -1, before, 0),
                (1, 1, count, before),
                (count - skip, -1, after, before + count),
            ];
            let of = |(source, destination): &(Strided, Strided)| {
                let part = |&(from, step, count, to): &(usize, i64, usize, usize)| {
                    let source = source.clone().sliced(axis, from as i64 - 1, step, count);
                    (source, destination.clone().sliced(axis, to as i64, 1, count))
                };
                mirrored.iter().filter(|(_, _, count, _)| *count > 0).map(part).collect::<Vec<_>>()
            };
            parts = parts.iter().flat_map(of).collect();
            if parts.len() > MAX_STEPS {
                return None;
            }
        }
        let transfers = parts.into_iter().map(|(source, to)| Transfer::new(0, source, to)).collect();
        Some((Self::of(MovementKind::MirrorPad, &padded, None, transfers)?, padded))
    }

    /// A tensor of `dims` dimensions with dimension `order[i]` as its `i`th; and the output's dimensions.
    pub fn transpose(dims: &[usize], order: &[usize]) -> Option<(Self, Vec<usize>)> {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..dims.len()) {
            return None;
        }
        let source = Strided::whole(dims)?.permuted(order);
        let output = source.dims.clone();
        let transfers = vec![Transfer::new(0, source, Strided::whole(&output)?)];
        Some((Self::of(MovementKind::Transpose, &output, None, transfers)?, output))
    }

    /// `inputs` tensors of `dims` dimensions side by side along a new dimension `axis`; and the output's dimensions.
    pub fn pack(dims: &[usize], axis: usize, inputs: usize) -> Option<(Self, Vec<usize>)> {
        let mut output = dims.to_vec();
        if axis > dims.len() {
            return None;
        }
        output.insert(axis, inputs);
        let (whole, mut one) = (Strided::whole(&output)?, output.clone());
        one[axis] = 1;
        let part = |input: usize| {
            Some(Transfer::new(input, Strided::whole(&one)?, whole.clone().sliced(axis, input as i64, 1, 1)))
        };
        let transfers = (0..inputs).map(part).collect::<Option<_>>()?;
        Some((Self::of(MovementKind::Pack, &output, None, transfers)?, output))
    }

    /// From `[n, h, w, c]` to `[n, h * block, w * block, c / block²]`: channels become pixels (`to_space`), or the other way; and the output's dimensions.
    pub fn depth_and_space(dims: [usize; 4], block: usize, to_space: bool) -> Option<(Self, [usize; 4])> {
        let [n, h, w, c] = dims;
        let square = block.checked_mul(block).filter(|&square| square > 0)?;
        let (kind, small, output) = if to_space {
            let depth = c.is_multiple_of(square).then_some(c / square)?;
            let output = [n, h.checked_mul(block)?, w.checked_mul(block)?, depth];
            (MovementKind::DepthToSpace, [n, h, w, depth], output)
        } else {
            if !h.is_multiple_of(block) || !w.is_multiple_of(block) {
                return None;
            }
            let output = [n, h / block, w / block, c.checked_mul(square)?];
            (MovementKind::SpaceToDepth, [n, h / block, w / block, c], output)
        };
        let [n, h, w, c] = small;
        let depth = Strided::whole(&[n, h, w, block, block, c])?.permuted(&[0, 1, 3, 2, 4, 5]);
        let space = Strided::whole(&[n, h, block, w, block, c])?;
        let (source, destination) = if to_space { (depth, space) } else { (space, depth) };
        let transfers = vec![Transfer::new(0, source, destination)];
        Some((Self::of(kind, &output, None, transfers)?, output))
    }

    fn of(kind: MovementKind, output: &[usize], fill: Option<i32>, transfers: Vec<Transfer>) -> Option<Self> {
        Some(Self { kind, output: aligned(output)?, fill, transfers })
    }
}

fn padded(dims: &[usize], amounts: &[(usize, usize)]) -> Option<Vec<usize>> {
    if dims.len() != amounts.len() {
        return None;
    }
    dims.iter()
        .zip(amounts)
        .map(|(&dim, &(before, after))| dim.checked_add(before)?.checked_add(after))
        .collect()
}

fn copies(operator: Operator, transfer: &Transfer) -> Option<Vec<Part>> {
    let part = |params: copy::Params| Part {
        operator,
        attributes: params.attributes().to_vec(),
        reads: vec![transfer.input],
    };
    Some(transfer.copies()?.into_iter().map(part).collect())
}

/// A layer that picks rows, columns and channels of its first input by a table, its second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gather {
    /// What it is called.
    pub kind: MovementKind,
    /// Whether rows, columns and channels are picked by the table, which has the indices of each in turn; the others stay.
    pub axes: [bool; 3],
    /// Height, width and channels of the output.
    pub output: [u32; 3],
}

impl Gather {
    pub(super) fn output(&self, inputs: &[&Tensor]) -> Result<(Shape, ElementType), Problem> {
        let &[input, table] = inputs else {
            return Err(Problem::InputCount { expected: "2", found: inputs.len() });
        };
        let [h, w, c] = self.output;
        let output = Shape([1, h, w, c]);
        let [_, from @ ..] = input.shape.0;
        let (mut indices, mut expected) = (0u32, output);
        for (axis, (&picked, length)) in self.axes.iter().zip(from).enumerate() {
            if picked {
                indices = indices.saturating_add(self.output[axis]);
            } else {
                expected.0[axis + 1] = length;
            }
        }
        if output != expected {
            return Err(Problem::Shape { what: "the output", found: output, expected });
        }
        if table.shape != Shape::vector(indices) {
            let (found, expected) = (table.shape, Shape::vector(indices));
            return Err(Problem::Shape { what: "the table", found, expected });
        }
        Ok((output, input.element_type))
    }

    /// The attributes of its step.
    pub fn attributes(&self) -> Vec<i32> {
        let [y, x, c] = self.axes.map(i32::from);
        vec![y | x << 1 | c << 2]
    }
}

/// For each of `output` rows or columns, which of `input` is the nearest, in the f32 arithmetic of TensorFlow Lite's `GetNearestNeighbor`.
pub fn nearest(input: usize, output: usize, align_corners: bool, half_pixel_centers: bool) -> Vec<i32> {
    let scale = if align_corners && output > 1 {
        (input as f32 - 1.0) / (output - 1) as f32
    } else {
        input as f32 / output as f32
    };
    let offset = if half_pixel_centers { 0.5 } else { 0.0 };
    let index = |index: usize| {
        let position = (index as f32 + offset) * scale;
        let rounded = if align_corners { libm::roundf(position) } else { libm::floorf(position) };
        (rounded as i32).min(input as i32 - 1).max(0)
    };
    (0..output).map(index).collect()
}
