//! Packing the constants of a model file that is finished.

use std::collections::HashMap;

use smidgen::model::{ModelParts, NewEntry, WriteError};
use smidgen::{
    AllOperators, ElementType, Model, NewStep, Operand, Operator, Quantization, Shape, Space, ops,
};

use super::pack_weights::{Layer, Packed, Packing, fastest};
use super::plan_memory::ALIGNMENT;

/// The model with the constants of its int8 layers packed for `packing` in the fastest way, or `None` if there is nothing to pack: it is packed already, or has more
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
    let steps: Vec<NewStep> = model.steps(&entry).flatten().map(NewStep::from).collect();
    let Some(mut chosen) = chosen(&steps, model.constant(), packing, arena) else { return Ok(None) };
    let mut constants = Constants::of(model);
    let mut scratch_bytes = 0;
    let steps: Vec<NewStep> = steps
        .into_iter()
        .enumerate()
        .map(|(index, mut step)| {
            let Some(Packed { stream, .. }) =
                chosen.remove(&index).filter(|way| rewrite(&mut step, way, arena))
            else {
                step.reads.iter_mut().for_each(|read| constants.keep(read));
                return step;
            };
            if let Some(scratch) = step.writes.get(1) {
                scratch_bytes = scratch_bytes.max(scratch.bytes().unwrap_or(0));
            }
            if let [input, operand] = &mut step.reads[..] {
                constants.keep(input);
                operand.offset = constants.append(bytemuck::cast_slice(&stream));
            }
            step
        })
        .collect();
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

/// The layouts of the steps that get one, by their number; `None` if there are none.
fn chosen(
    steps: &[NewStep],
    constant: &[u8],
    packing: Packing,
    arena: u32,
) -> Option<HashMap<usize, Packed>> {
    let (mut layers, mut ways) = (Vec::new(), Vec::new());
    for (index, step) in steps.iter().enumerate() {
        let Some(mut of_layer) = layer(step, constant).and_then(|layer| layer.ways(packing)) else {
            continue;
        };
        // Tensors stay where they are.
        of_layer.retain(|way| way.packed.as_ref().is_none_or(|way| rewrite(&mut step.clone(), way, arena)));
        layers.push(index);
        ways.push(of_layer);
    }
    let best = fastest(&ways, packing);
    let ways = ways.into_iter().zip(best).map(|(mut ways, index)| ways.swap_remove(index).packed);
    let packed: HashMap<usize, Packed> =
        layers.into_iter().zip(ways).filter_map(|(layer, way)| Some((layer, way?))).collect();
    (!packed.is_empty()).then_some(packed)
}

/// The step as a layer, if it is one.
fn layer<'s>(step: &'s NewStep, constant: &'s [u8]) -> Option<Layer<'s>> {
    let ([input, filter, channels], [output]) = (&step.reads[..], &step.writes[..]) else { return None };
    let bytes = |operand: &Operand| {
        let (start, end) = operand.range()?;
        if operand.space == Space::Constant { constant.get(start..end) } else { None }
    };
    let tensor = |operand: &Operand| Some((operand.shape, operand.quantization.some()?.zero_point));
    Some(Layer {
        operator: Operator::from_code(step.operator)?,
        attributes: &step.attributes,
        input: tensor(input)?,
        output: tensor(output)?,
        filter: bytemuck::cast_slice(bytes(filter)?),
        channels: bytemuck::try_cast_slice(bytes(channels)?).ok()?,
    })
}

/// Makes a step the packed one, with its scratch at `arena` and a stream that has no place yet. `false` if its output lies further over its input than the packed operator
/// allows; the step is then of no use.
fn rewrite(step: &mut NewStep, packed: &Packed, arena: u32) -> bool {
    let place = |space, offset, shape: Shape, element_type| Operand {
        space,
        element_type,
        offset,
        shape,
        quantization: Quantization::NONE,
    };
    step.operator = packed.operator as u8;
    // There was room for more reads, and there is for two writes.
    step.reads.truncate(1);
    let stream = place(Space::Constant, 0, packed.stream_shape, ElementType::I32);
    let scratch = packed.scratch.map(|(shape, element_type)| place(Space::Arena, arena, shape, element_type));
    let has_room =
        step.reads.push(stream).is_ok() && scratch.is_none_or(|scratch| step.writes.push(scratch).is_ok());
    let ([input, ..], [output, ..]) = (&step.reads[..], &step.writes[..]) else { return false };
    let reaches =
        || Some(output.offset as usize + ops::overlap::<AllOperators>(step.step())? <= input.offset as usize);
    has_room && (!output.overlaps(input) || reaches() == Some(true))
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
