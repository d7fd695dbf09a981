//! Bytes at an address that every kernel accepts.

use std::ops::{Deref, DerefMut};

/// A buffer whose bytes begin at a multiple of 16, as the core's memory spaces do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlignedBytes {
    /// 16 bytes each, and aligned to it.
    blocks: Vec<u128>,
    length: usize,
}

impl AlignedBytes {
    /// `length` zeros.
    pub fn zeroed(length: usize) -> Self {
        Self { blocks: vec![0; length.div_ceil(16)], length }
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut copy = Self::zeroed(bytes.len());
        copy.as_mut_slice().copy_from_slice(bytes);
        copy
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.blocks)[..self.length]
    }

    /// The bytes, to write.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.blocks)[..self.length]
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
            assert!((bytes.as_slice().as_ptr() as usize).is_multiple_of(16));
        }
        assert_eq!(AlignedBytes::copy_of(b"smidgen").as_slice(), b"smidgen");
    }
}
