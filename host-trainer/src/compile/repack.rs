//! Packing the constants of a model file that is finished.

use std::collections::HashMap;

use smidgen::model::{ModelParts, NewEntry, WriteError};
use smidgen::{
    AllOperators, ElementType, Model, NewStep, Operand, Operator, Quantization, Shape, Space, ops,
};

use super::pack_weights::{Layer, Packed, Packing};
use super::plan_memory::ALIGNMENT;

/// The model with the constants of its int8 layers packed for `packing`, or `None` if there is nothing to pack: it is packed already, or has more
/// entries than the one for inference.
///
/// Every tensor stays where it is, so that a layer stays plain if its output lies further over its input than the packed operator allows; scratch
/// memory is put behind the arena. A program that is packed while it is compiled ([`pack_weights`](super::pack_weights())) needs less.
///
/// # Errors
/// [`WriteError`] for a file that would be too long.
pub fn repack(model: &Model<'_>, packing: Packing) -> Result<Option<Vec<u8>>, WriteError> {
    let Ok([entry]) = <[_; 1]>::try_from(model.entries().flatten().collect::<Vec<_>>()) else {
        return Ok(None);
    };
    let arena = model.header().memory.arena;
    let mut constants = Constants::of(model);
    let (mut steps, mut scratch_bytes, mut any) = (Vec::new(), 0, false);
    for step in model.steps(&entry).flatten() {
        let mut step = NewStep::from(step);
        if let Some((packed, stream)) = packed(&step, model.constant(), packing, arena) {
            any = true;
            step = packed;
            if let Some(scratch) = step.writes.get(1) {
                scratch_bytes = scratch_bytes.max(scratch.bytes().unwrap_or(0));
            }
            if let [input, operand] = &mut step.reads[..] {
                constants.keep(input);
                operand.offset = constants.append(bytemuck::cast_slice(&stream));
            }
        } else {
            step.reads.iter_mut().for_each(|read| constants.keep(read));
        }
        steps.push(step);
    }
    if !any {
        return Ok(None);
    }
    let mut ends = [entry.inputs.to_vec(), entry.outputs.to_vec()];
    ends.iter_mut().flatten().for_each(|operand| constants.keep(operand));
    let [inputs, outputs] = ends;
    let mut memory = model.header().memory;
    memory.arena = arena + u32::try_from(scratch_bytes.next_multiple_of(ALIGNMENT)).unwrap_or(u32::MAX);
    let initial_parameters = model.initial_parameters().map(|bytes| constants.append(bytes));
    let initial_state = model.initial_state().map(|bytes| constants.append(bytes));
    let entries = [NewEntry {
        kind: entry.kind,
        first_step: 0,
        step_count: steps.len() as u32,
        inputs: &inputs,
        outputs: &outputs,
    }];
    let parts = ModelParts {
        metadata: model.metadata(),
        entries: &entries,
        steps: &steps,
        memory,
        weights: &constants.weights,
        initial_parameters,
        initial_state,
    };
    super::assemble::write(&parts).map(Some)
}

/// What becomes of a step, if it can be packed: the step with its scratch at `arena`, and the stream, which has no place yet.
fn packed(step: &NewStep, constant: &[u8], packing: Packing, arena: u32) -> Option<(NewStep, Vec<i32>)> {
    let ([input, filter, channels], [output]) = (&step.reads[..], &step.writes[..]) else { return None };
    let bytes = |operand: &Operand| {
        let (start, end) = operand.range()?;
        if operand.space == Space::Constant { constant.get(start..end) } else { None }
    };
    let tensor = |operand: &Operand| Some((operand.shape, operand.quantization.some()?.zero_point));
    let layer = Layer {
        operator: Operator::from_code(step.operator)?,
        attributes: &step.attributes,
        input: tensor(input)?,
        output: tensor(output)?,
        filter: bytemuck::cast_slice(bytes(filter)?),
        channels: bytemuck::try_cast_slice(bytes(channels)?).ok()?,
    };
    let Packed { operator, stream, stream_shape, scratch } = layer.packed(packing)?;
    let place = |space, offset, shape: Shape, element_type| Operand {
        space,
        element_type,
        offset,
        shape,
        quantization: Quantization::NONE,
    };
    let mut packed = NewStep { operator: operator as u8, ..step.clone() };
    // There was room for more reads, and there is for two writes.
    packed.reads.truncate(1);
    packed.reads.push(place(Space::Constant, 0, stream_shape, ElementType::I32)).ok()?;
    if let Some((shape, element_type)) = scratch {
        packed.writes.push(place(Space::Arena, arena, shape, element_type)).ok()?;
    }
    if output.overlaps(input) {
        let distance = ops::overlap::<AllOperators>(packed.step())?;
        (output.offset as usize + distance <= input.offset as usize).then_some(())?;
    }
    Some((packed, stream))
}

/// A weights block in the making.
pub(super) struct Constants<'m> {
    from: &'m [u8],
    weights: Vec<u8>,
    /// New offsets of what was kept, by old offset and length.
    places: HashMap<(usize, usize), u32>,
}

impl<'m> Constants<'m> {
    /// An empty one, into which constants of `model` go.
    pub(super) fn of(model: &Model<'m>) -> Self {
        Self { from: model.constant(), weights: Vec::new(), places: HashMap::new() }
    }

    /// What it holds.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.weights
    }

    /// Adds bytes, and gives their offset.
    pub(super) fn append(&mut self, bytes: &[u8]) -> u32 {
        let offset = self.weights.len();
        self.weights.extend_from_slice(bytes);
        self.weights.resize(self.weights.len().next_multiple_of(ALIGNMENT), 0);
        offset as u32
    }

    /// Keeps a constant, and says in `operand` where it is now.
    pub(super) fn keep(&mut self, operand: &mut Operand) {
        let Some(range) = operand.range().filter(|_| operand.space == Space::Constant) else { return };
        let from = self.from;
        operand.offset = match self.places.get(&range) {
            Some(&offset) => offset,
            None => self.append(from.get(range.0..range.1).unwrap_or_default()),
        };
        self.places.insert(range, operand.offset);
    }
}
