//! CRC-32C (Castagnoli; RFC 3720, appendix B.4), of model files and of what a step wrote.

use core::fmt;

use crc::{CRC_32_ISCSI, Crc, Digest};

/// The host trades 16 KB of tables for speed; a device keeps them out of its flash and checks its model once, at start.
#[cfg(feature = "std")]
type Implementation = crc::Table<16>;
#[cfg(not(feature = "std"))]
type Implementation = crc::NoTable;

static CRC_32C: Crc<u32, Implementation> = Crc::<u32, Implementation>::new(&CRC_32_ISCSI);

/// The CRC-32C of `bytes`.
///
/// ```
/// assert_eq!(smidgen::checksum::crc32c(b"123456789"), 0xe306_9283);
/// ```
pub fn crc32c(bytes: &[u8]) -> u32 {
    CRC_32C.checksum(bytes)
}

/// A CRC-32C of bytes that come part by part.
///
/// ```
/// let mut checksum = smidgen::checksum::Crc32c::new();
/// checksum.update(b"12345");
/// checksum.update(b"6789");
/// assert_eq!(checksum.finish(), 0xe306_9283);
/// ```
#[derive(Clone)]
pub struct Crc32c(Digest<'static, u32, Implementation>);

impl Crc32c {
    /// Of nothing so far.
    pub fn new() -> Self {
        Self(CRC_32C.digest())
    }

    /// The CRC-32C of `bytes`.
    pub fn of(bytes: &[u8]) -> u32 {
        crc32c(bytes)
    }

    /// Goes on with these bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes.
    pub fn finish(self) -> u32 {
        self.0.finalize()
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Crc32c {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Crc32c").field(&self.clone().finish()).finish()
    }
}
