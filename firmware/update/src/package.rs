//! What is sent to a device: a head and a model file.

use smidgen::checksum::crc32c;

/// Length of a package's head, in bytes.
pub const PACKAGE_BYTES: usize = 88;
/// Length of a signature, in bytes.
pub const SIGNATURE_BYTES: usize = 64;
/// What the signature covers of the head; it covers the file, too.
const SIGNED_BYTES: usize = 20;

const MAGIC: [u8; 4] = *b"SMGU";

/// The head of a package, before the file. Numbers have their least significant byte first.
///
/// | bytes | |
/// |---|---|
/// | 0..4 | "SMGU" |
/// | 4..8 | kind of the model: a device takes only its own |
/// | 8..12 | version of the model |
/// | 12..16 | length of the file |
/// | 16..20 | CRC-32C of the file |
/// | 20..24 | CRC-32C of bytes 0..20 |
/// | 24..88 | ed25519 signature of bytes 0..20 and the file, or zeros |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Package {
    /// Kind of the model.
    pub kind: u32,
    /// Version of the model.
    pub version: u32,
    /// Length of the file.
    pub length: u32,
    /// CRC-32C of the file.
    pub checksum: u32,
    /// Signature, or zeros.
    pub signature: [u8; SIGNATURE_BYTES],
}

/// The head of a package is not one, or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackageError;

impl Package {
    /// The head for a file, without a signature.
    pub fn of(file: &[u8], kind: u32, version: u32) -> Self {
        let (length, checksum) = (file.len() as u32, crc32c(file));
        Self { kind, version, length, checksum, signature: [0; SIGNATURE_BYTES] }
    }

    /// What is signed before the file.
    pub fn signed_bytes(&self) -> [u8; SIGNED_BYTES] {
        let numbers = [u32::from_le_bytes(MAGIC), self.kind, self.version, self.length, self.checksum];
        let mut bytes = [0; SIGNED_BYTES];
        for (place, number) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(numbers) {
            *place = number.to_le_bytes();
        }
        bytes
    }

    /// The head's bytes.
    pub fn to_bytes(&self) -> [u8; PACKAGE_BYTES] {
        let signed = self.signed_bytes();
        let parts = signed.into_iter().chain(crc32c(&signed).to_le_bytes()).chain(self.signature);
        let mut bytes = [0; PACKAGE_BYTES];
        bytes.iter_mut().zip(parts).for_each(|(place, byte)| *place = byte);
        bytes
    }

    /// Reads a head.
    ///
    /// # Errors
    /// If it is none, or damaged.
    pub fn from_bytes(bytes: &[u8; PACKAGE_BYTES]) -> Result<Self, PackageError> {
        let package = Self::parts(bytes);
        if package.to_bytes() == *bytes { Ok(package) } else { Err(PackageError) }
    }

    /// The fields, whatever they are.
    pub(crate) fn parts(bytes: &[u8; PACKAGE_BYTES]) -> Self {
        let mut numbers = bytes.as_chunks::<4>().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).skip(1);
        let mut next = || numbers.next().unwrap_or(0);
        let (kind, version, length, checksum) = (next(), next(), next(), next());
        let mut signature = [0; SIGNATURE_BYTES];
        signature
            .iter_mut()
            .zip(bytes.iter().skip(SIGNED_BYTES + 4))
            .for_each(|(place, &byte)| *place = byte);
        Self { kind, version, length, checksum, signature }
    }
}
