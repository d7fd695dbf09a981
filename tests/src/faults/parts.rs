//! A model file taken apart into things that own themselves.

use smidgen::frontend::Audio;
use smidgen::model::{
    CHECKSUM_START, EntryKind, HEADER_BYTES, Header, LoadError, MemoryLengths, Metadata, Model, ModelParts,
    NewEntry, Preprocessing, Steps, write,
};
use smidgen::{AllOperators, NewStep, Operand};

use super::AlignedBytes;

/// An entry with its operands.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedEntry {
    /// What it is for.
    pub kind: EntryKind,
    /// Index of its first step.
    pub first_step: u32,
    /// How many steps it has.
    pub step_count: u32,
    /// What the caller writes before a run.
    pub inputs: Vec<Operand>,
    /// What the caller reads after a run.
    pub outputs: Vec<Operand>,
}

/// Everything that a model file holds, to be changed and written again.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    /// Name of the network.
    pub name: String,
    /// What is done to a raw sample; of sound without the normalization.
    pub preprocessing: Preprocessing<'static>,
    /// The entries.
    pub entries: Vec<OwnedEntry>,
    /// The steps.
    pub steps: Vec<NewStep>,
    /// Lengths of the memory spaces.
    pub memory: MemoryLengths,
    /// The weights block.
    pub weights: Vec<u8>,
    /// Where the first values of the parameters are.
    pub initial_parameters: Option<u32>,
    /// Where the first values of the state are.
    pub initial_state: Option<u32>,
}

impl Parts {
    /// Takes a valid file apart.
    ///
    /// # Errors
    /// Why it is not a valid file.
    pub fn read(file: &[u8]) -> Result<Self, LoadError> {
        let model = Model::<AllOperators>::from_bytes(file)?;
        let header = model.header();
        let steps = Self::steps_of(file);
        let entries = model.entries().flatten().map(|entry| OwnedEntry {
            kind: entry.kind,
            first_step: entry.first_step,
            step_count: entry.step_count,
            inputs: entry.inputs.to_vec(),
            outputs: entry.outputs.to_vec(),
        });
        let place = |offset| if offset == smidgen::model::ZEROS { None } else { Some(offset) };
        Ok(Self {
            name: model.metadata().name.to_owned(),
            preprocessing: match model.metadata().preprocessing {
                Preprocessing::None => Preprocessing::None,
                Preprocessing::Normalize { mean, std } => Preprocessing::Normalize { mean, std },
                Preprocessing::Audio(Audio { config, .. }) => {
                    Preprocessing::Audio(Audio { config, normalization: &[] })
                }
            },
            entries: entries.collect(),
            steps,
            memory: header.memory,
            weights: model.constant().to_vec(),
            initial_parameters: place(header.initial_parameters),
            initial_state: place(header.initial_state),
        })
    }

    /// All steps of a file, up to the first that does not decode. Entries may share steps, and steps may belong to no entry.
    pub fn steps_of(file: &[u8]) -> Vec<NewStep> {
        let section =
            Header::read(file).ok().and_then(|h| file.get(h.steps_offset as usize..h.steps_end as usize));
        Steps::new(section.unwrap_or_default(), u32::MAX).map_while(Result::ok).map(NewStep::from).collect()
    }

    /// Writes the file, valid or not.
    ///
    /// # Panics
    /// If the parts cannot be written at all: an entry with more operands than a file can hold, or steps that are not there.
    pub fn write(&self) -> AlignedBytes {
        let entries: Vec<NewEntry<'_>> = self
            .entries
            .iter()
            .map(|entry| NewEntry {
                kind: entry.kind,
                first_step: entry.first_step,
                step_count: entry.step_count,
                inputs: &entry.inputs,
                outputs: &entry.outputs,
            })
            .collect();
        let parts = ModelParts {
            metadata: Metadata {
                name: &self.name,
                labels: "",
                step_names: "",
                provenance: "",
                preprocessing: self.preprocessing,
            },
            entries: &entries,
            steps: &self.steps,
            memory: self.memory,
            weights: &self.weights,
            initial_parameters: self.initial_parameters,
            initial_state: self.initial_state,
        };
        // No step and no entry takes more than half a kilobyte.
        let mut buffer =
            vec![0; HEADER_BYTES + 512 * (2 + self.steps.len() + self.entries.len()) + self.weights.len()];
        let length = write(&parts, &mut buffer).expect("parts that can be written");
        AlignedBytes::copy_of(&buffer[..length])
    }
}

/// Puts the right checksum into a file that has a header, so that what is behind the checksum is reached.
pub fn repair(file: &mut [u8]) {
    if file.len() >= HEADER_BYTES {
        let checksum = smidgen::checksum::crc32c(&file[CHECKSUM_START..]);
        file[8..12].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// Changes the header of a file, and repairs the checksum.
///
/// # Panics
/// If the file has no header that can be read.
pub fn edit_header(file: &mut [u8], edit: impl FnOnce(&mut Header)) {
    let mut header = Header::read(file).expect("a header");
    edit(&mut header);
    file[..HEADER_BYTES].copy_from_slice(&header.write());
    repair(file);
}
