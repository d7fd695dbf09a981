//! The checks that make a model out of bytes, in the order in which trust grows: header, checksum, sections, entries, steps.

use core::marker::PhantomData;

use super::entry::{Entry, EntryKind, MAX_ENTRY_OPERANDS, Steps};
use super::header::{ALIGNMENT, CHECKSUM_START, HEADER_BYTES, Header, VERSION, ZEROS};
use super::{LoadError, Metadata, Model, Place, range};
use crate::checksum::crc32c;
use crate::operand::{Operand, Space};
use crate::ops::{self, InPlace, Operator, OperatorSet, Operators};
use crate::step::{MAX_ATTRIBUTES, MAX_READS, MAX_WRITES, Schedule, Step, StepError};

pub(super) fn validate<O: Operators>(file: &[u8]) -> Result<Model<'_, O>, LoadError> {
    let header = Header::read(file)?;
    check_length_and_checksum(&header, file)?;
    let sections = Sections::cut(&header, file)?;
    sections.check_metadata(&header)?;
    sections.check_weights()?;
    check_memory(&header, sections.weights)?;
    let model = sections.model(header);
    check_steps(&model, &sections)?;
    check_entries(&model, &sections)?;
    Ok(model)
}

fn check_length_and_checksum(header: &Header, file: &[u8]) -> Result<(), LoadError> {
    let (expected, found) = (header.file_bytes as usize, file.len());
    if found < expected {
        return Err(LoadError::Truncated { expected, found });
    }
    if found > expected {
        return Err(LoadError::TrailingBytes { expected, found });
    }
    let found = crc32c(file.get(CHECKSUM_START..).unwrap_or_default());
    if found == header.checksum {
        Ok(())
    } else {
        Err(LoadError::WrongChecksum { expected: header.checksum, found })
    }
}

/// The file's sections; each ends where the next begins.
struct Sections<'m> {
    file: &'m [u8],
    /// Metadata, and the padding and the length of the block of entries and steps.
    metadata: &'m [u8],
    entries: &'m [u8],
    steps: &'m [u8],
    /// The padding and the length of the weights block.
    padding: &'m [u8],
    weights: &'m [u8],
}

impl<'m> Sections<'m> {
    fn cut(header: &Header, file: &'m [u8]) -> Result<Self, LoadError> {
        let section = |start: u32, end: u32| {
            let bytes = file.get(start as usize..end as usize);
            bytes.ok_or(LoadError::Section { offset: start as usize })
        };
        if header.metadata_offset as usize != HEADER_BYTES {
            return Err(LoadError::Section { offset: HEADER_BYTES });
        }
        let sections = Self {
            file,
            metadata: section(header.metadata_offset, header.entries_offset)?,
            entries: section(header.entries_offset, header.steps_offset)?,
            steps: section(header.steps_offset, header.steps_end)?,
            padding: section(header.steps_end, header.weights_offset)?,
            weights: section(header.weights_offset, header.file_bytes)?,
        };
        for offset in [header.entries_offset, header.weights_offset] {
            if !(offset as usize).is_multiple_of(ALIGNMENT) {
                return Err(LoadError::MisalignedBlock { found: offset as usize });
            }
        }
        match sections.weights.as_ptr() as usize % ALIGNMENT {
            0 => Ok(sections),
            found => Err(LoadError::MisalignedBlock { found }),
        }
    }

    fn model<O>(&self, header: Header) -> Model<'m, O> {
        let &Self { metadata, entries, steps, weights, .. } = self;
        Model { header, metadata, entries, steps, weights, operators: PhantomData }
    }

    /// The offset in the file at which `left` bytes of `section` are left.
    fn offset(&self, section: &[u8], left: usize) -> usize {
        let start = (section.as_ptr() as usize).wrapping_sub(self.file.as_ptr() as usize);
        start.wrapping_add(section.len()).wrapping_sub(left)
    }

    fn check_metadata(&self, header: &Header) -> Result<(), LoadError> {
        match postcard::take_from_bytes::<Metadata<'_>>(self.metadata) {
            Ok((metadata, rest)) => {
                self.check_padding(rest, self.entries.len() + self.steps.len())?;
                let expected = (VERSION.0, metadata.preprocessing.minor_version());
                if header.version.1 > expected.1 {
                    return Err(LoadError::VersionWithoutNeed { found: header.version, expected });
                }
                let fits = header.version == expected
                    && metadata.preprocessing.is_valid()
                    && metadata.preprocessing.front_end_bytes() == header.front_end_bytes;
                if fits { Ok(()) } else { Err(LoadError::Preprocessing) }
            }
            Err(_) => Err(LoadError::Malformed { offset: self.offset(self.metadata, self.metadata.len()) }),
        }
    }

    fn check_weights(&self) -> Result<(), LoadError> {
        self.check_padding(self.padding, self.weights.len())
    }

    /// What stands before a block of `length` bytes: the padding, a string of zeros, and the block's length.
    fn check_padding(&self, bytes: &[u8], length: usize) -> Result<(), LoadError> {
        let error = || LoadError::Section { offset: self.offset(bytes, bytes.len()) };
        let (padding, rest): (&[u8], _) = postcard::take_from_bytes(bytes).map_err(|_| error())?;
        let (found, rest): (u32, _) = postcard::take_from_bytes(rest).map_err(|_| error())?;
        let fits = padding.len() < ALIGNMENT && padding.iter().all(|&byte| byte == 0) && rest.is_empty();
        if fits && found as usize == length { Ok(()) } else { Err(error()) }
    }
}

fn check_memory(header: &Header, weights: &[u8]) -> Result<(), LoadError> {
    let memory = &header.memory;
    let lengths = [memory.parameter, memory.state, memory.gradient, memory.chunk, memory.arena];
    if memory.total().is_none() || lengths.iter().any(|&length| !(length as usize).is_multiple_of(ALIGNMENT))
    {
        return Err(LoadError::MemoryLengths);
    }
    for (offset, length) in
        [(header.initial_parameters, memory.parameter), (header.initial_state, memory.state)]
    {
        if offset != ZEROS && range(weights, offset, length).is_none() {
            return Err(LoadError::InitialValues);
        }
    }
    Ok(())
}

fn check_steps<O: Operators>(model: &Model<'_, O>, sections: &Sections<'_>) -> Result<(), LoadError> {
    let mut used = OperatorSet::EMPTY;
    let (mut index, mut left) = (0u32, sections.steps);
    while !left.is_empty() {
        let mut steps = Steps::new(left, 1);
        let step = steps.next().and_then(Result::ok).filter(|step| {
            let counts = [step.attributes.len(), step.reads.len(), step.writes.len()];
            counts.into_iter().zip([MAX_ATTRIBUTES, MAX_READS, MAX_WRITES]).all(|(count, most)| count <= most)
        });
        let malformed = || LoadError::Malformed { offset: sections.offset(sections.steps, left.len()) };
        let step = step.ok_or_else(malformed)?;
        check_step(model, index, step)?;
        used = used.with(step.operator);
        index = index.saturating_add(1);
        left = steps.rest();
    }
    if used == model.header.operators { Ok(()) } else { Err(LoadError::OperatorSet) }
}

fn check_entries<O: Operators>(model: &Model<'_, O>, sections: &Sections<'_>) -> Result<(), LoadError> {
    let mut seen = [false; 4];
    let mut index = 0u8;
    let mut infer = (0, 0);
    for entry in model.entries() {
        let malformed = |left| LoadError::Malformed { offset: sections.offset(sections.entries, left) };
        let entry = entry.map_err(malformed)?;
        let error = LoadError::Entry { entry: index };
        let Some(seen) = seen.get_mut(entry.kind as usize) else { return Err(error) };
        if core::mem::replace(seen, true) {
            return Err(error);
        }
        let counts = [entry.inputs.len(), entry.outputs.len()];
        if counts.into_iter().any(|count| count > MAX_ENTRY_OPERANDS)
            || !has_its_steps(sections.steps, &entry)
        {
            return Err(error);
        }
        for (operand, found) in entry.inputs.iter().chain(entry.outputs).enumerate() {
            check_operand(model, found, Place::Entry { entry: index, operand: operand as u8 })?;
        }
        for (operand, found) in entry.inputs.iter().enumerate() {
            if found.space == Space::Constant {
                let place = Place::Entry { entry: index, operand: operand as u8 };
                return Err(LoadError::ForbiddenWrite { place });
            }
        }
        if entry.kind == EntryKind::Infer {
            let bytes = |operands: &[Operand]| operands.first().and_then(Operand::bytes).unwrap_or(0);
            infer = (bytes(entry.inputs), bytes(entry.outputs));
        }
        index = index.checked_add(1).ok_or(error)?;
    }
    let header = (model.header.input_bytes as usize, model.header.output_bytes as usize);
    if infer == header { Ok(()) } else { Err(LoadError::InferLengths) }
}

/// Whether the entry's first step begins where the entry says, and all its steps are there. Every step has been read once before.
fn has_its_steps(steps: &[u8], entry: &Entry<'_>) -> bool {
    let mut skipped = Steps::new(steps, entry.first_step);
    let begins = skipped.by_ref().all(|step| step.is_ok())
        && steps.len().checked_sub(skipped.rest().len()) == usize::try_from(entry.steps_offset).ok();
    begins && Steps::new(skipped.rest(), entry.step_count).all(|step| step.is_ok())
}

fn check_step<O: Operators>(model: &Model<'_, O>, index: u32, step: Step<'_>) -> Result<(), LoadError> {
    let at = |operand: usize| Place::Step { step: index, operand: operand as u8 };
    let unknown = LoadError::UnknownOperator { step: index, code: step.operator };
    let operator = Operator::from_code(step.operator).ok_or(unknown)?;
    for (i, operand) in step.operands().enumerate() {
        check_operand(model, operand, at(i))?;
    }
    for (i, operand) in step.reads.iter().enumerate() {
        let once = step.schedule == Schedule::Once;
        if once && operand.space == Space::Chunk && !operator.reduces_chunks() {
            return Err(LoadError::ForbiddenRead { place: at(i) });
        }
    }
    for (i, operand) in step.writes.iter().enumerate() {
        let allowed = match (step.schedule, operand.space) {
            (_, Space::Constant) | (Schedule::Once, Space::Chunk) => false,
            (Schedule::Once, _) | (Schedule::PerChunk, Space::Chunk | Space::Arena) => true,
            (Schedule::PerChunk, _) => false,
        };
        if !allowed {
            return Err(LoadError::ForbiddenWrite { place: at(step.reads.len() + i) });
        }
    }
    if let Some(write) = overlapping_write::<O>(step, operator.in_place()) {
        return Err(LoadError::OverlappingWrite { place: at(step.reads.len() + write) });
    }
    ops::check::<O>(step, model.weights).map_err(|error| match error {
        StepError::UnknownOperator { .. } => unknown,
        StepError::ZeroWindow { index: attribute } => LoadError::ZeroStride { step: index, attribute },
        StepError::Quantization { operand } => LoadError::BadQuantization { place: at(operand as usize) },
        error => LoadError::Step { step: index, error },
    })
}

/// The first write that overlaps another operand more than `in_place` allows.
fn overlapping_write<O: Operators>(step: Step<'_>, in_place: InPlace) -> Option<usize> {
    step.writes.iter().enumerate().position(|(i, write)| {
        let other_write = step.writes.iter().take(i).any(|other| other.overlaps(write));
        let read = step.reads.iter().enumerate().any(|(j, read)| {
            let in_place = i == 0
                && read.same_place(write)
                && match in_place {
                    InPlace::Never => false,
                    InPlace::First => j == 0,
                    InPlace::Any => true,
                };
            read.overlaps(write) && !in_place && !(i == 0 && j == 0 && runs_over::<O>(step, read, write))
        });
        other_write || read
    })
}

/// Whether the first write may overlap the first read as it does: the operator has used what it writes over.
fn runs_over<O: Operators>(step: Step<'_>, read: &Operand, write: &Operand) -> bool {
    let before = read.offset.checked_sub(write.offset).and_then(|bytes| usize::try_from(bytes).ok());
    before.zip(ops::overlap::<O>(step)).is_some_and(|(before, distance)| before >= distance)
}

fn check_operand<O: Operators>(
    model: &Model<'_, O>,
    operand: &Operand,
    place: Place,
) -> Result<(), LoadError> {
    if operand.shape.has_zero() {
        return Err(LoadError::ZeroDimension { place });
    }
    if operand.bytes().is_none() {
        return Err(LoadError::ShapeOverflow { place });
    }
    if operand.quantization.some().is_some_and(|found| !found.is_valid_for(operand.element_type)) {
        return Err(LoadError::BadQuantization { place });
    }
    if !(operand.offset as usize).is_multiple_of(operand.element_type.bytes()) {
        return Err(LoadError::OperandMisaligned { place });
    }
    let memory = &model.header.memory;
    let length = match operand.space {
        Space::Constant => model.weights.len(),
        Space::Parameter => memory.parameter as usize,
        Space::State => memory.state as usize,
        Space::Gradient => memory.gradient as usize,
        Space::Chunk => memory.chunk as usize,
        Space::Arena => memory.arena as usize,
    };
    match operand.range() {
        Some((_, end)) if end <= length => Ok(()),
        _ => Err(LoadError::OperandOutOfRange { place }),
    }
}
