//! Packing the constants of a model file that is finished.

use std::collections::HashMap;

use smidgen::model::{ModelParts, NewEntry, WriteError};
use smidgen::{ElementType, Model, NewStep, Operand, Operator, Quantization, Shape, Space};

use super::pack_weights::{Layer, Packed, Packing};
use super::plan_memory::ALIGNMENT;

/// The model with the constants of its int8 layers packed for `packing`, or `None` if there is nothing to pack: it is packed already, or has more
/// entries than the one for inference.
///
/// Every tensor stays where it is, and a layer whose output lies over its input stays plain; scratch memory is put behind the arena. A program that is packed while it is compiled
/// ([`pack_weights`](super::pack_weights())) needs less.
///
/// # Errors
/// [`WriteError`] for a file that would be too long.
pub fn repack(model: &Model<'_>, packing: Packing) -> Result<Option<Vec<u8>>, WriteError> {
    let Ok([entry]) = <[_; 1]>::try_from(model.entries().flatten().collect::<Vec<_>>()) else {
        return Ok(None);
    };
    let arena = model.header().memory.arena;
    let mut constants = Constants { from: model.constant(), weights: Vec::new(), places: HashMap::new() };
    let (mut steps, mut scratch_bytes, mut any) = (Vec::new(), 0, false);
    for step in model.steps(&entry).flatten() {
        let mut step = NewStep::from(step);
        if let Some(packed) = packed(&step, model.constant(), packing) {
            any = true;
            let Packed { operator, stream, stream_shape, scratch } = packed;
            let place = |space, offset, shape: Shape, element_type| Operand {
                space,
                element_type,
                offset,
                shape,
                quantization: Quantization::NONE,
            };
            let stream_type = ElementType::I32;
            let offset = constants.append(bytemuck::cast_slice(&stream));
            step.operator = operator as u8;
            step.reads.truncate(1);
            // There was room for more reads, and there is for two writes.
            let _ = step.reads.push(place(Space::Constant, offset, stream_shape, stream_type));
            if let Some((shape, element_type)) = scratch {
                let scratch = place(Space::Arena, arena, shape, element_type);
                scratch_bytes = scratch_bytes.max(scratch.bytes().unwrap_or(0));
                let _ = step.writes.push(scratch);
            }
            if let [input, _] = &mut step.reads[..] {
                constants.keep(input);
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

/// What becomes of a step, if it can be packed.
fn packed(step: &NewStep, constant: &[u8], packing: Packing) -> Option<Packed> {
    let ([input, filter, channels], [output]) = (&step.reads[..], &step.writes[..]) else { return None };
    // A plain convolution may run over its input further than the packed one.
    if output.overlaps(input) {
        return None;
    }
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
    layer.packed(packing)
}

/// A weights block in the making.
struct Constants<'m> {
    from: &'m [u8],
    weights: Vec<u8>,
    /// New offsets of what was kept, by old offset and length.
    places: HashMap<(usize, usize), u32>,
}

impl Constants<'_> {
    fn append(&mut self, bytes: &[u8]) -> u32 {
        let offset = self.weights.len();
        self.weights.extend_from_slice(bytes);
        self.weights.resize(self.weights.len().next_multiple_of(ALIGNMENT), 0);
        offset as u32
    }

    /// Keeps a constant, and says in `operand` where it is now.
    fn keep(&mut self, operand: &mut Operand) {
        let Some(range) = operand.range().filter(|_| operand.space == Space::Constant) else { return };
        let from = self.from;
        operand.offset = match self.places.get(&range) {
            Some(&offset) => offset,
            None => self.append(from.get(range.0..range.1).unwrap_or_default()),
        };
        self.places.insert(range, operand.offset);
    }
}
