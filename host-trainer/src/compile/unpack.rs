//! From packed layers back to plain ones.

use smidgen::model::{ModelParts, NewEntry, WriteError};
use smidgen::ops::int8::CHANNEL_WORDS;
use smidgen::{ElementType, Model, NewStep, Operand, Operator, Quantization, Shape, Space};

use super::pack_weights::Unpacked;
use super::plan_memory::ALIGNMENT;
use super::repack::Constants;

/// The model with the constants of its int8 layers in TensorFlow Lite's order, or `None` if they are, or it has more entries than the one for inference.
///
/// Every tensor has its own memory then, for a packed layer may lie over its input where a plain one may not. A channel whose weights are all zero has lost its multiplier
/// when it was packed; it gets another one that gives the same output.
///
/// # Errors
/// [`WriteError`] for a file that would be too long.
pub fn unpack(model: &Model<'_>) -> Result<Option<Vec<u8>>, WriteError> {
    let Ok([entry]) = <[_; 1]>::try_from(model.entries().flatten().collect::<Vec<_>>()) else {
        return Ok(None);
    };
    let mut constants = Constants::of(model);
    let mut places = Places::default();
    let mut ends = [entry.inputs.to_vec(), entry.outputs.to_vec()];
    let [inputs, outputs] = &mut ends;
    inputs.iter_mut().for_each(|input| places.write(input, false));
    let (mut steps, mut any) = (Vec::new(), false);
    for step in model.steps(&entry).flatten() {
        let mut step = NewStep::from(step);
        let unpacked = unpacked(&step, model.constant());
        step.reads.iter_mut().for_each(|read| places.read(read));
        if let Some(Unpacked { operator, filter, filter_shape, channels }) = unpacked {
            any = true;
            let count = (channels.len() / CHANNEL_WORDS) as u32;
            let mut constant = |bytes: &[u8], element_type, shape| Operand {
                space: Space::Constant,
                element_type,
                offset: constants.append(bytes),
                shape,
                quantization: Quantization::NONE,
            };
            let filter = constant(bytemuck::cast_slice(&filter), ElementType::I8, filter_shape);
            let shape = Shape([1, 1, count, CHANNEL_WORDS as u32]);
            let channels = constant(bytemuck::cast_slice(&channels), ElementType::I32, shape);
            step.operator = operator as u8;
            step.reads.truncate(1);
            step.writes.truncate(1);
            // A plain layer has three reads, for which there is room.
            let _ = step.reads.push(filter).and_then(|()| step.reads.push(channels));
        } else {
            step.reads.iter_mut().for_each(|read| constants.keep(read));
        }
        let code = step.operator;
        let in_parts = [Operator::Copy, Operator::CopyAdd].iter().any(|&part| part as u8 == code);
        step.writes.iter_mut().for_each(|write| places.write(write, in_parts));
        steps.push(step);
    }
    if !any {
        return Ok(None);
    }
    outputs.iter_mut().for_each(|output| places.read(output));
    ends.iter_mut().flatten().for_each(|operand| constants.keep(operand));
    let mut memory = model.header().memory;
    memory.arena = places.end;
    let initial_parameters = model.initial_parameters().map(|bytes| constants.append(bytes));
    let initial_state = model.initial_state().map(|bytes| constants.append(bytes));
    let [inputs, outputs] = &ends;
    let entries =
        [NewEntry { kind: entry.kind, first_step: 0, step_count: steps.len() as u32, inputs, outputs }];
    let parts = ModelParts {
        metadata: model.metadata(),
        entries: &entries,
        steps: &steps,
        memory,
        weights: constants.bytes(),
        initial_parameters,
        initial_state,
    };
    super::assemble::write(&parts).map(Some)
}

/// What a packed step was.
fn unpacked(step: &NewStep, constant: &[u8]) -> Option<Unpacked> {
    let ([input, stream, ..], [output, ..]) = (&step.reads[..], &step.writes[..]) else { return None };
    let (start, end) = stream.range().filter(|_| stream.space == Space::Constant)?;
    let words: Vec<i32> =
        constant.get(start..end)?.as_chunks().0.iter().map(|&word| i32::from_le_bytes(word)).collect();
    let operator = Operator::from_code(step.operator)?;
    let zero_point = output.quantization.some()?.zero_point;
    Unpacked::of(operator, &step.attributes, [input.shape, output.shape], zero_point, &words)
}

/// Where what lies in the arena goes.
#[derive(Default)]
struct Places {
    /// Old ranges, and where they begin now.
    live: Vec<((usize, usize), u32)>,
    end: u32,
}

impl Places {
    fn find(&self, operand: &Operand) -> Option<u32> {
        let (start, end) = operand.range()?;
        let mut live = self.live.iter().rev();
        let (from, to) = live.find(|((first, last), _)| *first <= start && end <= *last)?;
        Some(to + (start - from.0) as u32)
    }

    fn read(&self, operand: &mut Operand) {
        if operand.space == Space::Arena {
            operand.offset = self.find(operand).unwrap_or(operand.offset);
        }
    }

    /// A new place; if it is written part by part, the place of the parts before.
    fn write(&mut self, operand: &mut Operand, in_parts: bool) {
        let (Space::Arena, Some(range)) = (operand.space, operand.range()) else { return };
        if in_parts && let Some(place) = self.find(operand) {
            operand.offset = place;
            return;
        }
        self.live.retain(|((start, end), _)| *end <= range.0 || range.1 <= *start);
        self.live.push((range, self.end));
        operand.offset = self.end;
        self.end += ((range.1 - range.0).next_multiple_of(ALIGNMENT)) as u32;
    }
}
