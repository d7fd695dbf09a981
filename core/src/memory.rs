//! The memory spaces as slices, and typed, disjoint views of a step's operands in them.
//!
//! Everything here is safe code: views come from `split_at_mut`, types from `bytemuck`. A range that does not lie in
//! its space gives [`StepError::Memory`], never a panic; for a validated model that cannot happen.

use bytemuck::{AnyBitPattern, NoUninit};

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

/// An input and an output of a step that may lie over each other.
///
/// Piece by piece, an operator reads what it needs through [`input`](Self::input) before it writes through [`output`](Self::output). How far
/// the output may run over the input follows from the order of the pieces, see `docs/memory.md`.
#[derive(Debug)]
pub enum InOut<'a> {
    /// They share no byte.
    Apart {
        /// The input.
        input: &'a [u8],
        /// The output.
        output: &'a mut [u8],
    },
    /// They are parts of one region.
    Over {
        /// From the first byte of either to the last.
        region: &'a mut [u8],
        /// Where in the region the input begins and ends.
        input: (usize, usize),
        /// Where in the region the output begins and ends.
        output: (usize, usize),
    },
}

impl<'a> InOut<'a> {
    /// An input and an output that are slices of their own.
    pub fn apart<I: NoUninit + AnyBitPattern, O: NoUninit + AnyBitPattern>(
        input: &'a [I],
        output: &'a mut [O],
    ) -> Self {
        // Bytes have no alignment and no forbidden values: neither conversion fails.
        Self::Apart {
            input: bytemuck::try_cast_slice(input).unwrap_or_default(),
            output: bytemuck::try_cast_slice_mut(output).unwrap_or_default(),
        }
    }

    /// The parts of the input and of the output from one byte to another.
    pub fn part(&mut self, input: (usize, usize), output: (usize, usize)) -> InOut<'_> {
        match self {
            Self::Apart { input: from, output: to } => InOut::Apart {
                input: from.get(input.0..input.1).unwrap_or_default(),
                output: to.get_mut(output.0..output.1).unwrap_or_default(),
            },
            Self::Over { region, input: (from, _), output: (to, _) } => {
                let moved = |by: usize, (start, end): (usize, usize)| {
                    (by.saturating_add(start), by.saturating_add(end))
                };
                InOut::Over { region, input: moved(*from, input), output: moved(*to, output) }
            }
        }
    }

    /// The input. After a write, what that has left of it.
    #[inline]
    pub fn input(&self) -> &[u8] {
        match self {
            Self::Apart { input, .. } => input,
            Self::Over { region, input: (start, end), .. } => region.get(*start..*end).unwrap_or_default(),
        }
    }

    /// The output.
    #[inline]
    pub fn output(&mut self) -> &mut [u8] {
        match self {
            Self::Apart { output, .. } => output,
            Self::Over { region, output: (start, end), .. } => {
                region.get_mut(*start..*end).unwrap_or_default()
            }
        }
    }
}

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

    /// Views of an input and an output in the arena that do not overlap, and of a constant: what a small layer mostly has, in a tenth of the instructions that [`views`](Self::views)
    /// takes. `None` if they lie elsewhere.
    #[inline]
    pub(crate) fn layer(
        &mut self,
        [input, constant]: [&Operand; 2],
        output: &Operand,
    ) -> Option<([&[u8]; 2], &mut [u8])> {
        let spaces = [input.space, constant.space, output.space];
        if spaces != [Space::Arena, Space::Constant, Space::Arena] {
            return None;
        }
        let ((first, last), (start, end)) = (constant.range()?, input.range()?);
        let constant = self.constant.get(first..last)?;
        let (first, last) = output.range()?;
        let (input, output) = if end <= first {
            let (before, behind) = self.arena.split_at_mut_checked(first)?;
            (before.get(start..end)?, behind.get_mut(..last - first)?)
        } else if last <= start {
            let (before, behind) = self.arena.split_at_mut_checked(start)?;
            (behind.get(..end - start)?, before.get_mut(first..last)?)
        } else {
            return None;
        };
        Some(([input, constant], output))
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

    /// As [`Memory::views`], but the first write may overlap the first read. These two come as one; in the views they are empty.
    ///
    /// # Errors
    /// As [`Memory::views`].
    pub fn over<const R: usize, const W: usize>(
        &mut self,
        reads: [&Operand; R],
        writes: [&Operand; W],
    ) -> Result<(InOut<'_>, Views<'_, R, W>), StepError> {
        let (mut read_places, mut write_places) = (places(reads)?, places(writes)?);
        let (Some(read), Some(write)) = (read_places.first_mut(), write_places.first_mut()) else {
            return Err(StepError::Memory);
        };
        let (input, output) = (*read, *write);
        let over = input.overlaps(output);
        if over {
            // The region of both is cut out as if it were the write.
            *read = Place { start: 0, end: 0, ..input };
            (write.start, write.end) = (input.start.min(output.start), input.end.max(output.end));
        }
        let start = write.start;
        let mut views = self.reborrow().into_views_of(read_places, write_places)?;
        let (Some(source), Some(region)) = (views.reads.first_mut(), views.writes.first_mut()) else {
            return Err(StepError::Memory);
        };
        let (source, region) = (core::mem::take(source), core::mem::take(region));
        let within = |place: Place| (place.start - start, place.end - start);
        let both = if over {
            InOut::Over { region, input: within(input), output: within(output) }
        } else {
            InOut::Apart { input: source, output: region }
        };
        Ok((both, views))
    }

    fn into_views<const R: usize, const W: usize>(
        self,
        reads: [&Operand; R],
        writes: [&Operand; W],
    ) -> Result<Views<'a, R, W>, StepError> {
        self.into_views_of(places(reads)?, places(writes)?)
    }

    #[inline]
    fn into_views_of<const R: usize, const W: usize>(
        self,
        reads: [Place; R],
        writes: [Place; W],
    ) -> Result<Views<'a, R, W>, StepError> {
        const { assert!(R <= MAX_READS && W <= MAX_WRITES) }
        let mut views = Views { reads: [&[]; R], writes: core::array::from_fn(|_| <&mut [u8]>::default()) };
        let cut = Cut {
            reads: &reads,
            writes: &writes,
            read_views: &mut views.reads,
            write_views: &mut views.writes,
            found: 0,
            taken: 0,
        };
        cut.memory(self)?;
        Ok(views)
    }
}

/// Where an operand lies.
#[derive(Clone, Copy)]
struct Place {
    space: Space,
    start: usize,
    end: usize,
}

impl Place {
    fn overlaps(self, other: Self) -> bool {
        self.space == other.space && self.start < other.end && other.start < self.end
    }
}

#[inline]
fn places<const N: usize>(operands: [&Operand; N]) -> Result<[Place; N], StepError> {
    let mut places = [Place { space: Space::Constant, start: 0, end: 0 }; N];
    for (place, operand) in places.iter_mut().zip(operands) {
        let (start, end) = operand.range().ok_or(StepError::Memory)?;
        *place = Place { space: operand.space, start, end };
    }
    Ok(places)
}

/// Cuts views out of the spaces: the writes of each space from front to back, and the reads out of what is between them. It is not generic
/// over their numbers, so that there is only one of it in an image.
struct Cut<'a, 'v> {
    reads: &'v [Place],
    writes: &'v [Place],
    read_views: &'v mut [&'a [u8]],
    write_views: &'v mut [&'a mut [u8]],
    /// A bit for each read that has its view.
    found: u32,
    /// A bit for each write that has its view.
    taken: u32,
}

impl<'a> Cut<'a, '_> {
    #[inline(never)]
    fn memory(mut self, memory: Memory<'a>) -> Result<(), StepError> {
        let Memory { constant, parameter, state, gradient, chunks, arena } = memory;
        let chunk = match chunks {
            Chunks::One(bytes) => bytes,
            Chunks::All(_) => Bytes::Shared(&[]),
        };
        let spaces = [Bytes::Shared(constant), parameter, state, gradient, chunk, Bytes::Exclusive(arena)];
        // Most steps have operands in two of them.
        let places = self.reads.iter().chain(self.writes);
        let used = places.fold(0, |used: u32, place| used | 1 << place.space as u32);
        for (space, bytes) in Space::ALL.into_iter().zip(spaces) {
            if used >> space as u32 & 1 == 1 {
                self.space(space, bytes)?;
            }
        }
        let missing = (0..).zip(self.reads).find(|&(index, _)| self.found >> index & 1 == 0);
        let Some((_, &read)) = missing else { return Ok(()) };
        match self.writes.iter().position(|write| write.overlaps(read)) {
            Some(write) => Err(StepError::Overlap { write: write as u8 }),
            None => Err(StepError::Memory),
        }
    }

    /// All views in one space.
    #[inline(never)]
    fn space(&mut self, space: Space, bytes: Bytes<'a>) -> Result<(), StepError> {
        let mut bytes = match bytes {
            Bytes::Exclusive(bytes) => bytes,
            Bytes::Shared(_) if self.writes.iter().any(|write| write.space == space) => {
                return Err(StepError::Memory);
            }
            Bytes::Shared(bytes) => {
                self.gap(space, 0, bytes);
                return Ok(());
            }
        };
        let mut cursor = 0;
        while let Some((index, write)) = self.next_write(space) {
            let skip = write.start.checked_sub(cursor).ok_or(StepError::Overlap { write: index as u8 })?;
            let (before, rest) = bytes.split_at_mut_checked(skip).ok_or(StepError::Memory)?;
            let length = write.end.wrapping_sub(write.start);
            let (wanted, rest) = rest.split_at_mut_checked(length).ok_or(StepError::Memory)?;
            if let Some(view) = self.write_views.get_mut(index) {
                *view = wanted;
            }
            self.taken |= 1 << index;
            self.gap(space, cursor, before);
            bytes = rest;
            cursor = write.end;
        }
        self.gap(space, cursor, bytes);
        Ok(())
    }

    /// The first write of a space that has no view.
    fn next_write(&self, space: Space) -> Option<(usize, Place)> {
        let mut next: Option<(usize, Place)> = None;
        for (index, &write) in self.writes.iter().enumerate() {
            let is_left = write.space == space && self.taken >> index & 1 == 0;
            if is_left && next.is_none_or(|(_, next)| write.start < next.start) {
                next = Some((index, write));
            }
        }
        next
    }

    /// Views of the reads that lie in these bytes of the space, from `start` on, which are only read.
    #[inline(never)]
    fn gap(&mut self, space: Space, start: usize, bytes: &'a [u8]) {
        if self.found == (1 << self.reads.len()) - 1 {
            return;
        }
        for ((index, read), view) in (0..).zip(self.reads).zip(self.read_views.iter_mut()) {
            if read.space != space || read.start < start {
                continue;
            }
            if let Some(found) = bytes.get(read.start - start..read.end - start) {
                *view = found;
                self.found |= 1 << index;
            }
        }
    }
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
    fn output_over_input_is_one_region() {
        with_memory(|mut memory| {
            let [input, output, scratch] =
                [(8, 8), (4, 6), (16, 4)].map(|(o, n)| bytes_at(Space::Arena, o, n));
            let constant = bytes_at(Space::Constant, 1, 2);
            let (mut both, views) = memory.over([&input, &constant], [&output, &scratch]).unwrap();
            assert!(matches!(both, InOut::Over { .. }));
            assert_eq!((views.reads[1], views.writes[1].first()), ([1, 2].as_slice(), Some(&116)));
            assert_eq!(both.input(), [108, 109, 110, 111, 112, 113, 114, 115]);
            both.output().fill(0);
            assert_eq!(both.input(), [0, 0, 110, 111, 112, 113, 114, 115]);
            let (mut both, _) = memory.over([&scratch], [&output]).unwrap();
            assert!(matches!(both, InOut::Apart { .. }));
            assert_eq!(both.input().first(), Some(&116));
            assert_eq!(both.output().len(), 6);
            // The scratch lies between them, and over them.
            let between = bytes_at(Space::Arena, 9, 1);
            let found = memory.over([&input], [&output, &between]).unwrap_err();
            assert!(matches!(found, StepError::Overlap { .. }));
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
