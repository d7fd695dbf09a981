//! CRC-32C (Castagnoli; RFC 3720, appendix B.4), of model files and of what a step wrote.

use crc::{CRC_32_ISCSI, Crc};

/// The host trades 16 KB of tables for speed; a device keeps them out of its flash and checks its model once, at start.
#[cfg(feature = "std")]
type Implementation = crc::Table<16>;
#[cfg(not(feature = "std"))]
type Implementation = crc::NoTable;

const CRC_32C: Crc<u32, Implementation> = Crc::<u32, Implementation>::new(&CRC_32_ISCSI);

/// The CRC-32C of `bytes`.
///
/// ```
/// assert_eq!(smidgen::checksum::crc32c(b"123456789"), 0xe306_9283);
/// ```
pub fn crc32c(bytes: &[u8]) -> u32 {
    CRC_32C.checksum(bytes)
}
