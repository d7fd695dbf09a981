//! What stands before a file in its slot: a record when it is complete, and before that the head of the transfer that brings it. Both are 64 bytes.

use smidgen::checksum::crc32c;

use crate::package::{PACKAGE_BYTES, Package};

/// What is read and written at a time.
pub(crate) const BLOCK: usize = 64;

const RECORD: [u8; 4] = *b"SMGR";
const TRANSFER: [u8; 4] = *b"SMGT";

/// A slot whose file is complete.
///
/// | bytes | |
/// |---|---|
/// | 0..4 | "SMGR" |
/// | 4..8 | sequence number, one more than that of the record before |
/// | 8..16 | kind and version of the model |
/// | 16..24 | length and CRC-32C of the file |
/// | 24..28 | CRC-32C of bytes 0..24 |
/// | 28..64 | ones |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) sequence: u32,
    pub(crate) kind: u32,
    pub(crate) version: u32,
    pub(crate) length: u32,
    pub(crate) checksum: u32,
}

impl Record {
    pub(crate) fn to_block(self) -> [u8; BLOCK] {
        let Self { sequence, kind, version, length, checksum } = self;
        sealed([u32::from_le_bytes(RECORD), sequence, kind, version, length, checksum])
    }

    pub(crate) fn read(block: &[u8]) -> Option<Self> {
        let [sequence, kind, version, length, checksum] = open(block, RECORD)?;
        Some(Self { sequence, kind, version, length, checksum })
    }
}

/// The head of a transfer: "SMGT", the checksum of the package's head, and its numbers, sealed as a record is.
pub(crate) fn transfer(package: &[u8; PACKAGE_BYTES]) -> [u8; BLOCK] {
    let Package { kind, version, length, checksum, .. } = Package::parts(package);
    sealed([u32::from_le_bytes(TRANSFER), crc32c(package), kind, version, length, checksum])
}

fn sealed(numbers: [u32; 6]) -> [u8; BLOCK] {
    let mut block = [0xff; BLOCK];
    let checksum = crc32c(numbers.map(u32::to_le_bytes).as_flattened());
    for (place, number) in block.as_chunks_mut::<4>().0.iter_mut().zip(numbers.into_iter().chain([checksum]))
    {
        *place = number.to_le_bytes();
    }
    block
}

fn open(block: &[u8], magic: [u8; 4]) -> Option<[u32; 5]> {
    let (covered, rest) = block.split_first_chunk::<24>()?;
    let seal = u32::from_le_bytes(*rest.first_chunk()?);
    let mut numbers = covered.as_chunks::<4>().0.iter().map(|&bytes| u32::from_le_bytes(bytes));
    let is_ours = numbers.next() == Some(u32::from_le_bytes(magic)) && seal == crc32c(covered);
    let mut found = [0; 5];
    found.iter_mut().zip(numbers).for_each(|(place, number)| *place = number);
    is_ours.then_some(found)
}
