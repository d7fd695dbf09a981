//! The memory spaces as slices, and typed, disjoint views of a step's operands in them.
//!
//! Everything here is safe code: views come from `split_at_mut`, types from `bytemuck`. A range that does not lie in
//! its space gives [`StepError::Memory`], never a panic; for a validated model that cannot happen.

use bytemuck::{AnyBitPattern, NoUninit};
use heapless::Vec;

use crate::operand::{Operand, Space};
use crate::step::{MAX_READS, MAX_WRITES, StepError};

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

/// All memory that a step can reach.
#[derive(Debug)]
pub struct Memory<'a> {
    /// [`Space::Constant`].
    pub constant: &'a [u8],
    /// [`Space::Parameter`].
    pub parameter: Bytes<'a>,
    /// [`Space::State`].
    pub state: Bytes<'a>,
    /// [`Space::Gradient`].
    pub gradient: Bytes<'a>,
    /// [`Space::Chunk`].
    pub chunks: Chunks<'a>,
    /// [`Space::Arena`].
    pub arena: &'a mut [u8],
}

/// Bytes of a step's operands: the reads shared, the writes exclusive.
#[derive(Debug)]
pub struct Views<'a, const R: usize, const W: usize> {
    /// The operands read, in the order asked for.
    pub reads: [&'a [u8]; R],
    /// The operands written, in the order asked for.
    pub writes: [&'a mut [u8]; W],
}

/// A stretch of a space that this step only reads.
struct Gap<'a> {
    space: Space,
    start: usize,
    bytes: &'a [u8],
}

/// The most gaps there can be: one per space, and one more for each write.
const MAX_GAPS: usize = Space::ALL.len() + MAX_WRITES;

impl<'a> Memory<'a> {
    /// The same memory, borrowed for a shorter time.
    pub fn reborrow(&mut self) -> Memory<'_> {
        Memory {
            constant: self.constant,
            parameter: self.parameter.reborrow(),
            state: self.state.reborrow(),
            gradient: self.gradient.reborrow(),
            chunks: self.chunks.reborrow(),
            arena: self.arena,
        }
    }

    /// Views of `reads` and `writes`. Reads may overlap each other; a write may overlap nothing.
    ///
    /// # Errors
    /// [`StepError::Memory`] if an operand does not lie in its space or lies in a space that cannot be written now,
    /// [`StepError::Overlap`] if a write overlaps something.
    pub fn views<const R: usize, const W: usize>(
        &mut self,
        reads: [&Operand; R],
        writes: [&Operand; W],
    ) -> Result<Views<'_, R, W>, StepError> {
        self.reborrow().into_views(reads, writes)
    }

    /// The bytes of `operand`, read-only.
    ///
    /// # Errors
    /// [`StepError::Memory`] if it does not lie in its space.
    pub fn read(&mut self, operand: &Operand) -> Result<&[u8], StepError> {
        self.reborrow().into_read(operand)
    }

    /// The bytes of `operand`, to write.
    ///
    /// # Errors
    /// [`StepError::Memory`] if it does not lie in its space, or the space cannot be written now.
    pub fn write(&mut self, operand: &Operand) -> Result<&mut [u8], StepError> {
        self.reborrow().into_write(operand)
    }

    /// The instances of `partial`, an operand in [`Space::Chunk`], in chunk order, and views of `writes`, which lie in
    /// other spaces.
    ///
    /// # Errors
    /// As [`Memory::views`].
    pub fn reduce<const W: usize>(
        &mut self,
        partial: &Operand,
        writes: [&Operand; W],
    ) -> Result<(Partials<'_>, [&mut [u8]; W]), StepError> {
        let range = partial.range().ok_or(StepError::Memory)?;
        if partial.space != Space::Chunk || writes.iter().any(|write| write.space == Space::Chunk) {
            return Err(StepError::Memory);
        }
        let Memory { constant, parameter, state, gradient, chunks, arena } = self.reborrow();
        let source = match chunks {
            Chunks::One(Bytes::Shared(bytes)) => PartialSource::One(bytes),
            Chunks::One(Bytes::Exclusive(bytes)) => PartialSource::One(bytes),
            Chunks::All(list) => PartialSource::All(list),
        };
        let chunks = Chunks::One(Bytes::Shared(&[]));
        let rest = Memory { constant, parameter, state, gradient, chunks, arena };
        let Views { writes, .. } = rest.into_views([], writes)?;
        Ok((Partials { source, range }, writes))
    }

    /// As [`Memory::read`], for as long as the memory itself is borrowed.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn into_read(self, operand: &Operand) -> Result<&'a [u8], StepError> {
        let Views { reads: [bytes], .. } = self.into_views([operand], [])?;
        Ok(bytes)
    }

    /// As [`Memory::write`], for as long as the memory itself is borrowed.
    ///
    /// # Errors
    /// As [`Memory::write`].
    pub fn into_write(self, operand: &Operand) -> Result<&'a mut [u8], StepError> {
        let Views { writes: [bytes], .. } = self.into_views([], [operand])?;
        Ok(bytes)
    }

    fn into_views<const R: usize, const W: usize>(
        self,
        reads: [&Operand; R],
        writes: [&Operand; W],
    ) -> Result<Views<'a, R, W>, StepError> {
        const { assert!(R <= MAX_READS && W <= MAX_WRITES) }
        let mut taken: [Option<&'a mut [u8]>; W] = [const { None }; W];
        let mut gaps: Vec<Gap<'a>, MAX_GAPS> = Vec::new();
        let chunk = match self.chunks {
            Chunks::One(bytes) => bytes,
            Chunks::All(_) => Bytes::Shared(&[]),
        };
        for (space, bytes) in [
            (Space::Constant, Bytes::Shared(self.constant)),
            (Space::Parameter, self.parameter),
            (Space::State, self.state),
            (Space::Gradient, self.gradient),
            (Space::Chunk, chunk),
            (Space::Arena, Bytes::Exclusive(self.arena)),
        ] {
            match bytes {
                Bytes::Shared(bytes) => {
                    if writes.iter().any(|write| write.space == space) {
                        return Err(StepError::Memory);
                    }
                    push_gap(&mut gaps, Gap { space, start: 0, bytes })?;
                }
                Bytes::Exclusive(bytes) => carve(space, bytes, writes, &mut taken, &mut gaps)?,
            }
        }
        let mut read_views: [&[u8]; R] = [&[]; R];
        for (view, operand) in read_views.iter_mut().zip(reads) {
            *view = find(&gaps, operand, &writes)?;
        }
        let mut write_views: [&mut [u8]; W] = core::array::from_fn(|_| <&mut [u8]>::default());
        for (view, bytes) in write_views.iter_mut().zip(taken) {
            *view = bytes.ok_or(StepError::Memory)?;
        }
        Ok(Views { reads: read_views, writes: write_views })
    }
}

/// Cuts the writes that lie in `space` out of its bytes, from front to back; what is between them becomes gaps.
fn carve<'a, const W: usize>(
    space: Space,
    mut bytes: &'a mut [u8],
    writes: [&Operand; W],
    taken: &mut [Option<&'a mut [u8]>; W],
    gaps: &mut Vec<Gap<'a>, MAX_GAPS>,
) -> Result<(), StepError> {
    let mut cursor = 0;
    loop {
        // The first write in this space that is still to be cut out.
        let mut next: Option<(usize, usize, usize, &mut Option<&'a mut [u8]>)> = None;
        for (index, (write, slot)) in writes.iter().zip(taken.iter_mut()).enumerate() {
            if write.space != space || slot.is_some() {
                continue;
            }
            let (start, end) = write.range().ok_or(StepError::Memory)?;
            if next.as_ref().is_none_or(|&(_, first, ..)| start < first) {
                next = Some((index, start, end, slot));
            }
        }
        let Some((index, start, end, slot)) = next else { break };
        let skip = start.checked_sub(cursor).ok_or(StepError::Overlap { write: index as u8 })?;
        let (before, after) = bytes.split_at_mut_checked(skip).ok_or(StepError::Memory)?;
        let (wanted, after) = after.split_at_mut_checked(end - start).ok_or(StepError::Memory)?;
        push_gap(gaps, Gap { space, start: cursor, bytes: before })?;
        *slot = Some(wanted);
        bytes = after;
        cursor = end;
    }
    push_gap(gaps, Gap { space, start: cursor, bytes })
}

fn push_gap<'a>(gaps: &mut Vec<Gap<'a>, MAX_GAPS>, gap: Gap<'a>) -> Result<(), StepError> {
    gaps.push(gap).map_err(|_| StepError::Memory)
}

fn find<'a>(gaps: &[Gap<'a>], operand: &Operand, writes: &[&Operand]) -> Result<&'a [u8], StepError> {
    let (start, end) = operand.range().ok_or(StepError::Memory)?;
    let found = gaps.iter().find_map(|gap| {
        if gap.space != operand.space {
            return None;
        }
        gap.bytes.get(start.checked_sub(gap.start)?..end.checked_sub(gap.start)?)
    });
    found.ok_or_else(|| match writes.iter().position(|write| write.overlaps(operand)) {
        Some(write) => StepError::Overlap { write: write as u8 },
        None => StepError::Memory,
    })
}

/// One operand's instances in all chunks, in chunk order.
#[derive(Clone, Copy)]
pub struct Partials<'a> {
    source: PartialSource<'a>,
    range: (usize, usize),
}

#[derive(Clone, Copy)]
enum PartialSource<'a> {
    One(&'a [u8]),
    All(&'a dyn ChunkList),
}

impl core::fmt::Debug for Partials<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Partials").field("count", &self.count()).field("range", &self.range).finish()
    }
}

impl<'a> Partials<'a> {
    /// How many chunks there are.
    pub fn count(&self) -> usize {
        match self.source {
            PartialSource::One(_) => 1,
            PartialSource::All(list) => list.count(),
        }
    }

    /// The instances as elements of type `T`, in chunk order.
    pub fn iter<T: AnyBitPattern>(self) -> impl Iterator<Item = Result<&'a [T], StepError>> {
        (0..self.count()).map(move |index| {
            let chunk = match self.source {
                PartialSource::One(bytes) => bytes,
                PartialSource::All(list) => list.chunk(index),
            };
            elements(chunk.get(self.range.0..self.range.1).ok_or(StepError::Memory)?)
        })
    }
}

/// `bytes` as elements of type `T`.
///
/// # Errors
/// [`StepError::Memory`] if the length or the alignment does not fit.
pub fn elements<T: AnyBitPattern>(bytes: &[u8]) -> Result<&[T], StepError> {
    bytemuck::try_cast_slice(bytes).map_err(|_| StepError::Memory)
}

/// `bytes` as elements of type `T`, to write.
///
/// # Errors
/// [`StepError::Memory`] if the length or the alignment does not fit.
pub fn elements_mut<T: NoUninit + AnyBitPattern>(bytes: &mut [u8]) -> Result<&mut [T], StepError> {
    bytemuck::try_cast_slice_mut(bytes).map_err(|_| StepError::Memory)
}

/// Bytes at an address that every element type and every kernel accepts (a multiple of 16).
///
/// ```
/// static ARENA: smidgen::Aligned<[u8; 1024]> = smidgen::Aligned([0; 1024]);
/// assert_eq!(ARENA.0.as_ptr() as usize % 16, 0);
/// ```
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub struct Aligned<T: ?Sized>(pub T);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operand::{ElementType, Shape};

    fn bytes_at(space: Space, offset: u32, length: u32) -> Operand {
        Operand {
            space,
            element_type: ElementType::I8,
            offset,
            shape: Shape::vector(length),
            quantization: crate::operand::Quantization::NONE,
        }
    }

    fn with_memory<T>(run: impl FnOnce(Memory<'_>) -> T) -> T {
        let constant: [u8; 8] = core::array::from_fn(|i| i as u8);
        let mut chunk = [0u8; 8];
        let mut arena: [u8; 32] = core::array::from_fn(|i| 100 + i as u8);
        run(Memory {
            constant: &constant,
            parameter: Bytes::Shared(&[]),
            state: Bytes::Shared(&[]),
            gradient: Bytes::Shared(&[]),
            chunks: Chunks::One(Bytes::Exclusive(&mut chunk)),
            arena: &mut arena,
        })
    }

    #[test]
    fn views_are_the_right_bytes_in_any_order() {
        with_memory(|mut memory| {
            let [low, high, both] = [(16, 4), (24, 8), (0, 16)].map(|(o, n)| bytes_at(Space::Arena, o, n));
            let constant = bytes_at(Space::Constant, 2, 3);
            let Views { reads, writes } = memory.views([&both, &constant, &both], [&high, &low]).unwrap();
            assert_eq!(reads[0].first(), Some(&100));
            assert_eq!(reads[1], [2, 3, 4]);
            assert_eq!(reads[0], reads[2]);
            assert_eq!((writes[0].len(), writes[0].first()), (8, Some(&124)));
            assert_eq!((writes[1].len(), writes[1].first()), (4, Some(&116)));
        });
    }

    #[test]
    fn overlap_and_range_are_told_apart() {
        with_memory(|mut memory| {
            let operand = |o, n| bytes_at(Space::Arena, o, n);
            let error = |memory: &mut Memory<'_>, read, write| memory.views([&read], [&write]).unwrap_err();
            assert_eq!(error(&mut memory, operand(0, 8), operand(7, 2)), StepError::Overlap { write: 0 });
            assert_eq!(error(&mut memory, operand(30, 3), operand(0, 2)), StepError::Memory);
            assert_eq!(error(&mut memory, operand(0, 2), operand(30, 3)), StepError::Memory);
            let writes = memory.views([], [&operand(0, 8), &operand(4, 8)]).unwrap_err();
            assert_eq!(writes, StepError::Overlap { write: 1 });
            let constant = bytes_at(Space::Constant, 0, 1);
            assert_eq!(memory.views([], [&constant]).unwrap_err(), StepError::Memory);
        });
    }

    #[test]
    fn one_chunk_is_a_list_of_one() {
        with_memory(|mut memory| {
            let partial = bytes_at(Space::Chunk, 4, 4);
            let sum = bytes_at(Space::Arena, 0, 4);
            let (partials, [out]) = memory.reduce(&partial, [&sum]).unwrap();
            assert_eq!(partials.count(), 1);
            for instance in partials.iter::<u8>() {
                out.copy_from_slice(instance.unwrap());
            }
        });
    }
}
