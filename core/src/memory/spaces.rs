//! The spaces besides constants and arena, and how a [`Memory`] reaches them.

use super::cut::Cut;
use super::{LayerViews, Memory};
use crate::operand::{Operand, Space};
use crate::step::StepError;

/// A memory space that some executors may write and others only read.
#[derive(Debug)]
pub enum Bytes<'a> {
    /// Shared with other threads, read-only.
    Shared(&'a [u8]),
    /// Owned for now.
    Exclusive(&'a mut [u8]),
}

impl Bytes<'_> {
    fn reborrow(&mut self) -> Bytes<'_> {
        match self {
            Self::Shared(bytes) => Bytes::Shared(bytes),
            Self::Exclusive(bytes) => Bytes::Exclusive(bytes),
        }
    }
}

/// The chunks of a batch, as a step that runs once for the batch reads them.
pub trait ChunkList {
    /// How many there are.
    fn count(&self) -> usize;
    /// The bytes of chunk `index`; empty if there is none.
    fn chunk(&self, index: usize) -> &[u8];
}

/// The chunks of the batch that an executor sees.
pub enum Chunks<'a> {
    /// The one chunk that runs now.
    One(Bytes<'a>),
    /// All chunks, read-only, for a step that runs once for the batch.
    All(&'a dyn ChunkList),
}

impl Chunks<'_> {
    fn reborrow(&mut self) -> Chunks<'_> {
        match self {
            Self::One(bytes) => Chunks::One(bytes.reborrow()),
            Self::All(list) => Chunks::All(*list),
        }
    }
}

impl core::fmt::Debug for Chunks<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::One(bytes) => f.debug_tuple("One").field(bytes).finish(),
            Self::All(list) => f.debug_struct("All").field("count", &list.count()).finish_non_exhaustive(),
        }
    }
}

/// The spaces that a model which only infers mostly has not.
#[derive(Debug)]
pub struct OtherSpaces<'a> {
    /// [`Space::Parameter`].
    pub parameter: Bytes<'a>,
    /// [`Space::State`].
    pub state: Bytes<'a>,
    /// [`Space::Gradient`].
    pub gradient: Bytes<'a>,
    /// [`Space::Chunk`].
    pub chunks: Chunks<'a>,
}

impl OtherSpaces<'_> {
    /// Spaces without a byte.
    pub const fn empty() -> Self {
        Self {
            parameter: Bytes::Shared(&[]),
            state: Bytes::Shared(&[]),
            gradient: Bytes::Shared(&[]),
            chunks: Chunks::One(Bytes::Shared(&[])),
        }
    }
}

/// An owner of other spaces.
pub trait HasSpaces {
    /// Them, or `None` if there never are any: then nothing that looks into them is linked.
    fn spaces(&mut self) -> Option<OtherSpaces<'_>>;
}

impl HasSpaces for OtherSpaces<'_> {
    fn spaces(&mut self) -> Option<OtherSpaces<'_>> {
        let Self { parameter, state, gradient, chunks } = self;
        Some(OtherSpaces {
            parameter: parameter.reborrow(),
            state: state.reborrow(),
            gradient: gradient.reborrow(),
            chunks: chunks.reborrow(),
        })
    }
}

/// No spaces.
impl HasSpaces for [OtherSpaces<'_>; 0] {
    fn spaces(&mut self) -> Option<OtherSpaces<'_>> {
        None
    }
}

/// What a [`Memory`] asks of the other spaces. Whatever [`HasSpaces`] is it.
///
/// A memory knows them by this trait alone, so that an image of a model without them has none of the code behind it.
pub trait Elsewhere {
    /// The spaces.
    fn all(&mut self) -> Option<OtherSpaces<'_>>;

    /// One of the spaces.
    fn space(&mut self, space: Space) -> Option<Bytes<'_>>;

    /// Cuts out the views that lie neither among the constants nor in the arena.
    #[doc(hidden)]
    fn cut<'s>(&'s mut self, cut: &mut Cut<'s, '_>) -> Result<(), StepError>;

    /// Views of what a layer works on, wherever its operands lie.
    #[doc(hidden)]
    fn layer_views<'s>(
        &'s mut self,
        spaces: (&'s [u8], &'s mut [u8]),
        reads: [&Operand; 2],
        output: &Operand,
        scratch: Option<&Operand>,
    ) -> Result<LayerViews<'s>, StepError>;
}

impl<T: HasSpaces> Elsewhere for T {
    fn all(&mut self) -> Option<OtherSpaces<'_>> {
        self.spaces()
    }

    fn space(&mut self, space: Space) -> Option<Bytes<'_>> {
        let OtherSpaces { parameter, state, gradient, chunks } = self.spaces()?;
        match (space, chunks) {
            (Space::Parameter, _) => Some(parameter),
            (Space::State, _) => Some(state),
            (Space::Gradient, _) => Some(gradient),
            (Space::Chunk, Chunks::One(bytes)) => Some(bytes),
            _ => None,
        }
    }

    fn cut<'s>(&'s mut self, cut: &mut Cut<'s, '_>) -> Result<(), StepError> {
        let OtherSpaces { parameter, state, gradient, chunks } = self.spaces().ok_or(StepError::Memory)?;
        if let Chunks::One(bytes) = chunks {
            cut.space(Space::Chunk, bytes);
        }
        cut.shared_by_batch([parameter, state, gradient])
    }

    fn layer_views<'s>(
        &'s mut self,
        (constant, arena): (&'s [u8], &'s mut [u8]),
        reads: [&Operand; 2],
        output: &Operand,
        scratch: Option<&Operand>,
    ) -> Result<LayerViews<'s>, StepError> {
        if self.spaces().is_none() {
            return Err(StepError::Memory);
        }
        Memory { constant, arena, elsewhere: self }.layer_anywhere(reads, output, scratch)
    }
}
