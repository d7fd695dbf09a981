//! The memory spaces as slices, and typed, disjoint views of a step's operands in them.
//!
//! Everything here is safe code: views come from `split_at_mut`, types from `bytemuck`. A range that does not lie in
//! its space gives [`StepError::Memory`], never a panic; for a validated model that cannot happen.

mod cut;
mod in_out;
mod spaces;
#[cfg(test)]
mod tests;

use bytemuck::{AnyBitPattern, NoUninit};

use cut::Cut;
pub use in_out::InOut;
pub use spaces::{Bytes, ChunkList, Chunks, Elsewhere, HasSpaces, OtherSpaces};

use crate::operand::{Operand, Space};
use crate::step::{MAX_READS, MAX_WRITES, StepError};

/// All memory that a step can reach.
pub struct Memory<'a> {
    /// [`Space::Constant`].
    pub constant: &'a [u8],
    /// [`Space::Arena`].
    pub arena: &'a mut [u8],
    /// The other spaces: mostly [`OtherSpaces`].
    pub elsewhere: &'a mut dyn Elsewhere,
}

impl core::fmt::Debug for Memory<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { constant, arena, .. } = self;
        f.debug_struct("Memory").field("constant", constant).field("arena", arena).finish_non_exhaustive()
    }
}

/// Bytes of a step's operands: the reads shared, the writes exclusive.
#[derive(Debug)]
pub struct Views<'a, const R: usize, const W: usize> {
    /// The operands read, in the order asked for.
    pub reads: [&'a [u8]; R],
    /// The operands written, in the order asked for.
    pub writes: [&'a mut [u8]; W],
}

/// Input and output of a layer, its constant, and its scratch memory.
pub type LayerViews<'a> = (InOut<'a>, &'a [u8], &'a mut [u8]);

/// From one byte of a space to another, in a piece of it before which it has `before` bytes.
fn part_mut(piece: &mut [u8], before: usize, (start, end): (usize, usize)) -> Option<&mut [u8]> {
    piece.get_mut(start.checked_sub(before)?..end.checked_sub(before)?)
}

impl<'a> Memory<'a> {
    /// The same memory, borrowed for a shorter time.
    pub fn reborrow(&mut self) -> Memory<'_> {
        Memory { constant: self.constant, arena: self.arena, elsewhere: self.elsewhere }
    }

    /// Views of `reads` and `writes`. Reads may overlap each other; a write may overlap nothing.
    ///
    /// # Errors
    /// [`StepError::Memory`] if an operand does not lie in its space or lies in a space that cannot be written now, or if a write overlaps something.
    pub fn views<const R: usize, const W: usize>(
        &mut self,
        reads: [&Operand; R],
        writes: [&Operand; W],
    ) -> Result<Views<'_, R, W>, StepError> {
        const { assert!(R <= MAX_READS && W <= MAX_WRITES) }
        let mut views = Views::empty();
        Cut::new((&reads, &mut views.reads), (&writes, &mut views.writes)).memory(self.reborrow())?;
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

    /// What a layer works on: its input and its output, a constant, and scratch memory, empty if it has none. Where all of them but the constant lie in the
    /// arena, which they nearly always do, that takes a few splits.
    ///
    /// # Errors
    /// As [`over`](Self::over).
    #[inline]
    pub(crate) fn layer_views<'s>(
        &'s mut self,
        reads: [&Operand; 2],
        output: &Operand,
        scratch: Option<&Operand>,
    ) -> Result<LayerViews<'s>, StepError> {
        let [input, constant] = reads;
        let in_arena = |operand: &Operand| operand.space == Space::Arena;
        let near = constant.space == Space::Constant && in_arena(input) && in_arena(output);
        if near && scratch.is_none_or(in_arena) {
            self.layer_in_arena(reads, output, scratch).ok_or(StepError::Memory)
        } else {
            self.elsewhere.layer_views((self.constant, self.arena), reads, output, scratch)
        }
    }

    #[inline(never)]
    fn layer_in_arena(
        &mut self,
        [input, constant]: [&Operand; 2],
        output: &Operand,
        scratch: Option<&Operand>,
    ) -> Option<LayerViews<'_>> {
        let (start, end) = constant.range()?;
        let constant = self.constant.get(start..end)?;
        let (input, output) = (input.range()?, output.range()?);
        let Some(scratch) = scratch else {
            return Some((InOut::within(self.arena, 0, input, output)?, constant, &mut []));
        };
        let (start, end) = scratch.range()?;
        let (front, rest) = self.arena.split_at_mut_checked(start)?;
        let (scratch, behind) = rest.split_at_mut_checked(end - start)?;
        let both = match (input.1 <= start, output.1 <= start) {
            (true, true) => InOut::within(front, 0, input, output)?,
            (false, false) => InOut::within(behind, end, input, output)?,
            (true, false) => {
                InOut::Apart { input: front.get(input.0..input.1)?, output: part_mut(behind, end, output)? }
            }
            (false, true) => {
                InOut::Apart { input: part_mut(behind, end, input)?, output: part_mut(front, 0, output)? }
            }
        };
        Some((both, constant, scratch))
    }

    fn layer_anywhere(
        self,
        reads: [&Operand; 2],
        output: &Operand,
        scratch: Option<&Operand>,
    ) -> Result<LayerViews<'a>, StepError> {
        let writes = [output, scratch.unwrap_or(output)];
        let count = 1 + usize::from(scratch.is_some());
        let mut views = Views::<2, 2>::empty();
        let (writes, write_views) = (writes.get(..count), views.writes.get_mut(..count));
        let writes = (writes.unwrap_or_default(), write_views.unwrap_or_default());
        let both = self.both((&reads, &mut views.reads), writes)?;
        let ([_, constant], [_, scratch]) = (views.reads, views.writes);
        Ok((both, constant, scratch))
    }

    /// The bytes of `operand`, read-only.
    ///
    /// # Errors
    /// [`StepError::Memory`] if it does not lie in its space.
    pub fn read(&mut self, operand: &Operand) -> Result<&[u8], StepError> {
        let Views { reads: [bytes], .. } = self.views([operand], [])?;
        Ok(bytes)
    }

    /// The bytes of `operand`, to write.
    ///
    /// # Errors
    /// [`StepError::Memory`] if it does not lie in its space, or the space cannot be written now.
    pub fn write(&mut self, operand: &Operand) -> Result<&mut [u8], StepError> {
        let Views { writes: [bytes], .. } = self.views([], [operand])?;
        Ok(bytes)
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
        let OtherSpaces { parameter, state, gradient, chunks } =
            self.elsewhere.all().ok_or(StepError::Memory)?;
        let source = match chunks {
            Chunks::One(Bytes::Shared(bytes)) => PartialSource::One(bytes),
            Chunks::One(Bytes::Exclusive(bytes)) => PartialSource::One(bytes),
            Chunks::All(list) => PartialSource::All(list),
        };
        let mut views = Views::<0, W>::empty();
        let mut cut = Cut::new((&[], &mut []), (&writes, &mut views.writes));
        cut.shared(Space::Constant, 0, self.constant);
        cut.exclusive(Space::Arena, 0, self.arena, 0);
        cut.shared_by_batch([parameter, state, gradient])?;
        Ok((Partials { source, range }, views.writes))
    }

    /// As [`Memory::read`], for as long as the memory itself is borrowed.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn into_read(self, operand: &Operand) -> Result<&'a [u8], StepError> {
        let (start, end) = operand.range().ok_or(StepError::Memory)?;
        let bytes = match self.into_space(operand.space) {
            Some(Bytes::Shared(bytes)) => bytes,
            Some(Bytes::Exclusive(bytes)) => bytes,
            None => return Err(StepError::Memory),
        };
        bytes.get(start..end).ok_or(StepError::Memory)
    }

    /// As [`Memory::write`], for as long as the memory itself is borrowed.
    ///
    /// # Errors
    /// As [`Memory::write`].
    pub fn into_write(self, operand: &Operand) -> Result<&'a mut [u8], StepError> {
        let (start, end) = operand.range().ok_or(StepError::Memory)?;
        let Some(Bytes::Exclusive(bytes)) = self.into_space(operand.space) else {
            return Err(StepError::Memory);
        };
        bytes.get_mut(start..end).ok_or(StepError::Memory)
    }

    fn into_space(self, space: Space) -> Option<Bytes<'a>> {
        match space {
            Space::Constant => Some(Bytes::Shared(self.constant)),
            Space::Arena => Some(Bytes::Exclusive(self.arena)),
            _ => self.elsewhere.space(space),
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
        let mut views = Views::empty();
        let both = self.reborrow().both((&reads, &mut views.reads), (&writes, &mut views.writes))?;
        Ok((both, views))
    }

    /// As [`over`](Self::over). Not generic over the numbers of operands, so that there is only one of it in an image.
    #[inline(never)]
    fn both(
        self,
        (reads, read_views): (&[&Operand], &mut [&'a [u8]]),
        (writes, write_views): (&[&Operand], &mut [&'a mut [u8]]),
    ) -> Result<InOut<'a>, StepError> {
        let (Some((&input, others)), Some(&output)) = (reads.split_first(), writes.first()) else {
            return Err(StepError::Memory);
        };
        let (first, last) = input.range().ok_or(StepError::Memory)?;
        let (start, end) = output.range().ok_or(StepError::Memory)?;
        let over = input.space == output.space && first < end && start < last;
        // The region of both is cut out as if it were the write.
        let region = if over { (first.min(start), last.max(end)) } else { (start, end) };
        let (reads, views) = if over {
            (others, read_views.get_mut(1..).unwrap_or_default())
        } else {
            (reads, &mut *read_views)
        };
        let mut cut = Cut::new((reads, views), (writes, &mut *write_views));
        cut.region = Some(region);
        cut.memory(self)?;
        let output = write_views.first_mut().map(core::mem::take).unwrap_or_default();
        if over {
            return InOut::within(output, region.0, (first, last), (start, end)).ok_or(StepError::Memory);
        }
        let input = read_views.first_mut().map(core::mem::take).unwrap_or_default();
        Ok(InOut::Apart { input, output })
    }
}

impl<const R: usize, const W: usize> Views<'_, R, W> {
    fn empty() -> Self {
        Self { reads: [&[]; R], writes: core::array::from_fn(|_| <&mut [u8]>::default()) }
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
