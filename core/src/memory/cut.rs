//! Views of any operands in any spaces: how they are cut out.

use super::{Bytes, Memory};
use crate::operand::{Operand, Space};
use crate::step::StepError;

/// Cuts views out of the spaces.
#[derive(Debug)]
pub struct Cut<'a, 'v> {
    reads: &'v [&'v Operand],
    read_views: &'v mut [&'a [u8]],
    writes: &'v [&'v Operand],
    write_views: &'v mut [&'a mut [u8]],
    /// What is cut out for the first write, if that is not where it lies.
    pub(super) region: Option<(usize, usize)>,
    /// How many have not been cut.
    left: usize,
}

impl<'a, 'v> Cut<'a, 'v> {
    pub(super) fn new(
        (reads, read_views): (&'v [&'v Operand], &'v mut [&'a [u8]]),
        (writes, write_views): (&'v [&'v Operand], &'v mut [&'a mut [u8]]),
    ) -> Self {
        let left = reads.len() + writes.len();
        Self { reads, read_views, writes, write_views, region: None, left }
    }

    /// The views in all spaces.
    #[inline(never)]
    pub(super) fn memory(&mut self, memory: Memory<'a>) -> Result<(), StepError> {
        let Memory { constant, arena, elsewhere } = memory;
        // Most steps have operands in these two only.
        self.shared(Space::Constant, 0, constant);
        self.exclusive(Space::Arena, 0, arena, 0);
        if self.left == 0 { Ok(()) } else { elsewhere.cut(self) }
    }

    /// The views in the spaces that all chunks share, after those in the others.
    pub(super) fn shared_by_batch(&mut self, spaces: [Bytes<'a>; 3]) -> Result<(), StepError> {
        for (space, bytes) in [Space::Parameter, Space::State, Space::Gradient].into_iter().zip(spaces) {
            self.space(space, bytes);
        }
        if self.left == 0 { Ok(()) } else { Err(StepError::Memory) }
    }

    /// The views in one space. A write to one that is shared is left.
    pub(super) fn space(&mut self, space: Space, bytes: Bytes<'a>) {
        match bytes {
            Bytes::Shared(bytes) => self.shared(space, 0, bytes),
            Bytes::Exclusive(bytes) => self.exclusive(space, 0, bytes, 0),
        }
    }

    /// The views in a piece of a space, before which the space has `before` bytes: the first write that lies in it, of those from number `next` on, is cut out,
    /// and what lies before and behind it are pieces in their turn. That is as deep as there are writes.
    #[inline(never)]
    pub(super) fn exclusive(&mut self, space: Space, before: usize, bytes: &'a mut [u8], next: usize) {
        let mut index = next;
        while let (Some(operand), Some(view)) = (self.writes.get(index), self.write_views.get_mut(index)) {
            let place = if index == 0 { self.region } else { None };
            index += 1;
            let Some((start, end)) = place.or_else(|| operand.range()) else { continue };
            if operand.space != space || start < before || end > before + bytes.len() {
                continue;
            }
            let (front, rest) = bytes.split_at_mut_checked(start - before).unwrap_or_default();
            let (wanted, behind) = rest.split_at_mut_checked(end - start).unwrap_or_default();
            *view = wanted;
            self.left -= 1;
            self.exclusive(space, before, front, index);
            return self.exclusive(space, end, behind, index);
        }
        self.shared(space, before, bytes);
    }

    /// The reads in a piece of a space that nothing writes, before which the space has `before` bytes.
    #[inline(never)]
    pub(super) fn shared(&mut self, space: Space, before: usize, bytes: &'a [u8]) {
        for (operand, view) in self.reads.iter().zip(self.read_views.iter_mut()) {
            let start = (operand.offset as usize).wrapping_sub(before);
            if operand.space != space || start > bytes.len() {
                continue;
            }
            let found = operand.bytes().and_then(|length| bytes.get(start..)?.get(..length));
            if let Some(found) = found {
                *view = found;
                self.left -= 1;
            }
        }
    }
}
