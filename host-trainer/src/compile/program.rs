//! Programs before their memory is planned: steps over buffers that have a space, but no place in it.

use smidgen::{ElementType, EntryKind, Operator, Quantization, Schedule, Shape, Space};

use super::error::CompileError;
use crate::graph::{Role, Value};

/// Index of a buffer in [`Program::buffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub usize);

/// A tensor in one of the memory spaces, at an offset that is not decided yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// Name: the graph's tensor, and what the buffer is to it.
    pub name: String,
    /// The memory space.
    pub space: Space,
    /// Shape, with all samples of a chunk.
    pub shape: Shape,
    /// Type of the elements.
    pub element_type: ElementType,
    /// Quantization of an int8 activation.
    pub quantization: Option<Quantization>,
    /// What it is to the network.
    pub role: Role,
    /// First value; without one, zeros where the space has first values.
    pub value: Option<Value>,
    /// The same bytes as another buffer, in another shape.
    pub view_of: Option<BufferId>,
}

impl Buffer {
    /// The length in bytes.
    pub fn bytes(&self) -> usize {
        self.shape.elements().unwrap_or(0) * self.element_type.bytes()
    }
}

/// One step, as [`smidgen::Step`], over buffers.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualStep {
    /// The graph's node, and what the step is to it.
    pub name: String,
    /// The operator.
    pub operator: Operator,
    /// When it runs.
    pub schedule: Schedule,
    /// As `docs/operators.md` has them.
    pub attributes: Vec<i32>,
    /// What it reads.
    pub reads: Vec<BufferId>,
    /// What it writes.
    pub writes: Vec<BufferId>,
    /// The read in whose place the first write lies.
    pub in_place: Option<usize>,
}

impl VirtualStep {
    /// Whether it leaves alone what it does not reach of what it writes.
    pub const fn writes_parts(&self) -> bool {
        matches!(self.operator, Operator::Copy | Operator::CopyAdd)
    }

    /// Whether it changes what it writes, which another step has written before.
    pub const fn changes(&self) -> bool {
        use Operator::{ClipByNorm, ClipByValue, Guard, L1Penalty};
        matches!(self.operator, Guard | ClipByNorm | ClipByValue | L1Penalty)
    }
}

/// An entry, as [`smidgen::model::Entry`], with its steps.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualEntry {
    /// What it is for.
    pub kind: EntryKind,
    /// Its steps, in order.
    pub steps: Vec<VirtualStep>,
    /// What the caller writes before a run.
    pub inputs: Vec<BufferId>,
    /// What the caller reads after a run.
    pub outputs: Vec<BufferId>,
}

/// A program whose memory is not planned yet.
///
/// Every buffer in the arena or the chunk belongs to one entry; all others are shared by the entries. It is written by one step, or
/// part by part: behind the first write, [`writes_parts`](VirtualStep::writes_parts) steps of the same phase may write it again, before
/// anything reads it. So it is complete from its last write on, and its place is its own from the first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// The buffers.
    pub buffers: Vec<Buffer>,
    /// The entries, at most one of each kind.
    pub entries: Vec<VirtualEntry>,
}

impl Program {
    /// The buffer with this index.
    ///
    /// # Panics
    /// If there is none: an id is only good for the program that gave it.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0]
    }

    /// The entry of this kind.
    pub fn entry(&self, kind: EntryKind) -> Option<&VirtualEntry> {
        self.entries.iter().find(|entry| entry.kind == kind)
    }

    /// The buffer that a view shows, through any number of views; the buffer itself if it is none.
    pub fn root(&self, mut id: BufferId) -> BufferId {
        while let Some(viewed) = self.buffer(id).view_of {
            id = viewed;
        }
        id
    }

    /// Adds a buffer.
    ///
    /// # Errors
    /// [`CompileError::TooLarge`].
    pub fn add(&mut self, buffer: Buffer) -> Result<BufferId, CompileError> {
        let bytes = buffer.shape.elements().map(|elements| elements.checked_mul(buffer.element_type.bytes()));
        if bytes.flatten().is_none_or(|bytes| bytes > i32::MAX as usize) {
            return Err(CompileError::TooLarge { name: buffer.name, shape: buffer.shape });
        }
        self.buffers.push(buffer);
        Ok(BufferId(self.buffers.len() - 1))
    }

    /// Adds an f32 buffer without a first value.
    ///
    /// # Errors
    /// [`CompileError::TooLarge`].
    pub fn add_f32(
        &mut self,
        name: impl Into<String>,
        space: Space,
        shape: Shape,
    ) -> Result<BufferId, CompileError> {
        self.add(Buffer {
            name: name.into(),
            space,
            shape,
            element_type: ElementType::F32,
            quantization: None,
            role: Role::Activation,
            value: None,
            view_of: None,
        })
    }

    /// Adds a view of `viewed`.
    ///
    /// # Errors
    /// [`CompileError::TooLarge`].
    pub fn add_view(
        &mut self,
        name: impl Into<String>,
        viewed: BufferId,
        shape: Shape,
    ) -> Result<BufferId, CompileError> {
        let buffer = self.buffer(viewed).clone();
        self.add(Buffer { name: name.into(), shape, value: None, view_of: Some(viewed), ..buffer })
    }
}
