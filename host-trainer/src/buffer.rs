//! Bytes at an address that every kernel accepts.

use std::ops::{Deref, DerefMut};

/// A buffer whose bytes begin at a multiple of 64, a line of the cache; the core's memory spaces begin at a multiple of 16.
#[derive(Debug, Default)]
pub struct AlignedBytes {
    /// 16 bytes each, and aligned to it: some more than the bytes need.
    blocks: Vec<u128>,
    length: usize,
}

/// Blocks in a line of the cache.
const LINE: usize = 64 / size_of::<u128>();

impl AlignedBytes {
    /// `length` zeros.
    pub fn zeroed(length: usize) -> Self {
        Self { blocks: vec![0; length.div_ceil(size_of::<u128>()) + LINE - 1], length }
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut copy = Self::zeroed(bytes.len());
        copy.as_mut_slice().copy_from_slice(bytes);
        copy
    }

    /// The first of the bytes: at the next line.
    fn start(&self) -> usize {
        let address = self.blocks.as_ptr().addr();
        address.next_multiple_of(LINE * size_of::<u128>()) - address
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        let start = self.start();
        bytemuck::cast_slice(&self.blocks).get(start..start + self.length).unwrap_or_default()
    }

    /// The bytes, to write.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        let start = self.start();
        bytemuck::cast_slice_mut(&mut self.blocks).get_mut(start..start + self.length).unwrap_or_default()
    }
}

impl Clone for AlignedBytes {
    /// The copy's blocks may begin elsewhere in a line.
    fn clone(&self) -> Self {
        Self::copy_of(self.as_slice())
    }
}

impl PartialEq for AlignedBytes {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.as_mut_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_and_of_the_length_asked_for() {
        for length in [0, 1, 15, 16, 17, 1000] {
            let mut bytes = AlignedBytes::zeroed(length);
            assert_eq!(bytes.as_mut_slice().len(), length);
            assert!((bytes.as_slice().as_ptr() as usize).is_multiple_of(64));
            assert_eq!(bytes.clone(), bytes);
        }
        assert_eq!(AlignedBytes::copy_of(b"smidgen").as_slice(), b"smidgen");
    }
}
