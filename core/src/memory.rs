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
    #[inline(never)]
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
        const { assert!(R <= MAX_READS && W <= MAX_WRITES) }
        let (mut read_places, mut write_places) = ([Place::NONE; R], [Place::NONE; W]);
        find(&reads, &mut read_places)?;
        find(&writes, &mut write_places)?;
        let mut views = Views::empty();
        Cut::new((&read_places, &mut views.reads), (&write_places, &mut views.writes)).memory(self)?;
        Ok(views)
    }

    /// Views of an input and an output in the arena that do not overlap, and of a constant: what a small layer mostly has, in
    /// fewer instructions than [`views`](Self::views) takes. `None` if they lie elsewhere.
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
        let Memory { constant, parameter, state, gradient, chunks, arena } = self;
        let source = match chunks {
            Chunks::One(Bytes::Shared(bytes)) => PartialSource::One(bytes),
            Chunks::One(Bytes::Exclusive(bytes)) => PartialSource::One(bytes),
            Chunks::All(list) => PartialSource::All(*list),
        };
        let mut places = [Place::NONE; W];
        find(&writes, &mut places)?;
        let mut views = Views::<0, W>::empty();
        let mut cut = Cut::new((&[], &mut []), (&places, &mut views.writes));
        cut.spaces(constant, [parameter, state, gradient], arena)?;
        Ok((Partials { source, range }, views.writes))
    }

    /// As [`Memory::read`], for as long as the memory itself is borrowed.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn into_read(self, operand: &Operand) -> Result<&'a [u8], StepError> {
        let Place { space, start, end } = Place::of(operand)?;
        let bytes = match self.into_space(space) {
            Bytes::Shared(bytes) => bytes,
            Bytes::Exclusive(bytes) => bytes,
        };
        bytes.get(start..end).ok_or(StepError::Memory)
    }

    /// As [`Memory::write`], for as long as the memory itself is borrowed.
    ///
    /// # Errors
    /// As [`Memory::write`].
    pub fn into_write(self, operand: &Operand) -> Result<&'a mut [u8], StepError> {
        let Place { space, start, end } = Place::of(operand)?;
        let Bytes::Exclusive(bytes) = self.into_space(space) else { return Err(StepError::Memory) };
        bytes.get_mut(start..end).ok_or(StepError::Memory)
    }

    fn into_space(self, space: Space) -> Bytes<'a> {
        match (space, self.chunks) {
            (Space::Constant, _) => Bytes::Shared(self.constant),
            (Space::Parameter, _) => self.parameter,
            (Space::State, _) => self.state,
            (Space::Gradient, _) => self.gradient,
            (Space::Chunk, Chunks::One(bytes)) => bytes,
            (Space::Chunk, Chunks::All(_)) => Bytes::Shared(&[]),
            (Space::Arena, _) => Bytes::Exclusive(self.arena),
        }
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
        const { assert!(R >= 1 && W >= 1 && R <= MAX_READS && W <= MAX_WRITES) }
        let (mut read_places, mut write_places) = ([Place::NONE; R], [Place::NONE; W]);
        find(&reads, &mut read_places)?;
        find(&writes, &mut write_places)?;
        let mut views = Views::empty();
        let both = self.both((&mut read_places, &mut views.reads), (&mut write_places, &mut views.writes))?;
        Ok((both, views))
    }

    /// As [`over`](Self::over), of operands that lie in these places. Not generic over their numbers, so that there is only one of it in an image.
    #[inline(never)]
    fn both<'s>(
        &'s mut self,
        (reads, read_views): (&mut [Place], &mut [&'s [u8]]),
        (writes, write_views): (&mut [Place], &mut [&'s mut [u8]]),
    ) -> Result<InOut<'s>, StepError> {
        let ([read, ..], [write, ..]) = (&mut *reads, &mut *writes) else { return Err(StepError::Memory) };
        let (input, output) = (*read, *write);
        let over = input.overlaps(output);
        if over {
            // The region of both is cut out as if it were the write.
            *read = Place { start: 0, end: 0, ..input };
            (write.start, write.end) = (input.start.min(output.start), input.end.max(output.end));
        }
        let start = write.start;
        Cut::new((reads, &mut *read_views), (writes, &mut *write_views)).memory(self)?;
        let region = write_views.first_mut().map(core::mem::take).unwrap_or_default();
        let source = read_views.first_mut().map(core::mem::take).unwrap_or_default();
        if over {
            let within = |place: Place| (place.start - start, place.end - start);
            return Ok(InOut::Over { region, input: within(input), output: within(output) });
        }
        Ok(InOut::Apart { input: source, output: region })
    }
}

impl<const R: usize, const W: usize> Views<'_, R, W> {
    fn empty() -> Self {
        Self { reads: [&[]; R], writes: core::array::from_fn(|_| <&mut [u8]>::default()) }
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
    /// No byte.
    const NONE: Self = Self { space: Space::Constant, start: 0, end: 0 };

    fn of(operand: &Operand) -> Result<Self, StepError> {
        let (start, end) = operand.range().ok_or(StepError::Memory)?;
        Ok(Self { space: operand.space, start, end })
    }

    fn overlaps(self, other: Self) -> bool {
        self.space == other.space && self.start < other.end && other.start < self.end
    }
}

/// Writes to `places` where the operands lie, as many as there are places. They stay there: to return them would move them, which takes a small processor
/// longer than finding them.
#[inline(never)]
fn find(operands: &[&Operand], places: &mut [Place]) -> Result<(), StepError> {
    for (place, operand) in places.iter_mut().zip(operands) {
        *place = Place::of(operand)?;
    }
    Ok(())
}

/// Cuts views out of the spaces.
struct Cut<'a, 'v> {
    reads: &'v [Place],
    read_views: &'v mut [&'a [u8]],
    writes: &'v [Place],
    write_views: &'v mut [&'a mut [u8]],
    /// A bit for each space that has one of them.
    used: u32,
}

impl<'a, 'v> Cut<'a, 'v> {
    fn new(
        (reads, read_views): (&'v [Place], &'v mut [&'a [u8]]),
        (writes, write_views): (&'v [Place], &'v mut [&'a mut [u8]]),
    ) -> Self {
        let used = reads.iter().chain(writes).fold(0, |used, place| used | 1 << place.space as u32);
        Self { reads, read_views, writes, write_views, used }
    }

    /// The views in all spaces.
    #[inline(never)]
    fn memory(&mut self, memory: &'a mut Memory<'_>) -> Result<(), StepError> {
        let Memory { constant, parameter, state, gradient, chunks, arena } = memory;
        self.spaces(constant, [parameter, state, gradient], arena)?;
        let chunk = match chunks {
            Chunks::One(bytes) => bytes.reborrow(),
            Chunks::All(_) => Bytes::Shared(&[]),
        };
        if self.uses(Space::Chunk) { self.space(Space::Chunk, chunk) } else { Ok(()) }
    }

    /// The views in all spaces but that of chunks.
    fn spaces(
        &mut self,
        constant: &'a [u8],
        others: [&'a mut Bytes<'_>; 3],
        arena: &'a mut [u8],
    ) -> Result<(), StepError> {
        // Most steps have operands in these two.
        if self.uses(Space::Constant) {
            self.space(Space::Constant, Bytes::Shared(constant))?;
        }
        if self.uses(Space::Arena) {
            self.space(Space::Arena, Bytes::Exclusive(arena))?;
        }
        for (space, bytes) in [Space::Parameter, Space::State, Space::Gradient].into_iter().zip(others) {
            if self.uses(space) {
                self.space(space, bytes.reborrow())?;
            }
        }
        Ok(())
    }

    fn uses(&self, space: Space) -> bool {
        self.used >> space as u32 & 1 == 1
    }

    /// All views in one space: the writes are cut out from back to front, so that what is left always begins at its beginning; the reads are found in what is
    /// left and in what lay behind each write.
    #[inline(never)]
    fn space(&mut self, space: Space, bytes: Bytes<'a>) -> Result<(), StepError> {
        let mut behind: [&'a [u8]; MAX_WRITES] = [&[]; MAX_WRITES];
        let is_here = |place: &&Place| place.space == space;
        let front: &'a [u8] = match bytes {
            Bytes::Shared(_) if self.writes.iter().any(|write| is_here(&write)) => {
                return Err(StepError::Memory);
            }
            Bytes::Shared(bytes) => bytes,
            Bytes::Exclusive(bytes) => {
                let (mut front, mut left) = (bytes, (1u32 << self.writes.len()) - 1);
                loop {
                    let mut last = None;
                    for (index, place) in self.writes.iter().enumerate().filter(|(_, place)| is_here(place)) {
                        let key = (place.end, place.start, index);
                        if left >> index & 1 == 1 && last.is_none_or(|last| key > last) {
                            last = Some(key);
                        }
                    }
                    let Some((end, start, index)) = last else { break };
                    left &= !(1 << index);
                    let split = front.split_at_mut_checked(end);
                    let split = split.and_then(|(before, after)| {
                        before.split_at_mut_checked(start).map(|(before, wanted)| (before, wanted, after))
                    });
                    let Some((before, wanted, after)) = split else {
                        return Err(missing(&Place { space, start, end }, index, self.writes));
                    };
                    if let (Some(view), Some(rest)) = (self.write_views.get_mut(index), behind.get_mut(index))
                    {
                        (*view, *rest) = (wanted, after);
                    }
                    front = before;
                }
                front
            }
        };
        for (read, view) in
            self.reads.iter().zip(self.read_views.iter_mut()).filter(|(read, _)| is_here(read))
        {
            let mut found = front.get(read.start..read.end);
            for (write, rest) in self.writes.iter().zip(&behind).filter(|(write, _)| is_here(write)) {
                if found.is_none() && write.end <= read.start {
                    found = rest.get(read.start - write.end..read.end - write.end);
                }
            }
            *view = found.ok_or_else(|| missing(read, MAX_WRITES, self.writes))?;
        }
        Ok(())
    }
}

/// Why an operand is not there: another one's write lies over it, that of number `index` being its own, or it lies outside of its space.
#[cold]
fn missing(operand: &Place, index: usize, writes: &[Place]) -> StepError {
    let mut others = (0..).zip(writes).filter(|&(other, _)| other != index);
    match others.find(|(_, write)| write.overlaps(*operand)) {
        Some((write, _)) => StepError::Overlap { write: write as u8 },
        None => StepError::Memory,
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
