//! Decoding what a device logs.

use std::fs;
use std::path::Path;

use defmt_decoder::{DecodeError, Table};

use super::DeviceError;

/// The lines that `frames` are, `LEVEL message` each. The texts stand in the image's ELF file, not in the device's memory.
pub(super) fn decode(image: &Path, frames: &[u8]) -> Result<Vec<String>, DeviceError> {
    let error = |message: String| DeviceError::Image { image: image.to_owned(), message };
    if frames.is_empty() {
        return Ok(Vec::new());
    }
    let elf = fs::read(image).map_err(DeviceError::file(image))?;
    let table = Table::parse(&elf).map_err(|cause| error(format!("its table of log texts: {cause}")))?;
    let table = table.ok_or_else(|| error("it logs, but has no table of log texts".to_owned()))?;
    let mut decoder = table.new_stream_decoder();
    decoder.received(frames);
    let mut lines = Vec::new();
    loop {
        match decoder.decode() {
            Ok(frame) => {
                let level = frame.level().map_or("PRINT", |level| level.as_str());
                lines.push(format!("{} {}", level.to_uppercase(), frame.display_message()));
            }
            Err(DecodeError::UnexpectedEof) => return Ok(lines),
            Err(DecodeError::Malformed) => return Err(error("a log frame does not decode".to_owned())),
        }
    }
}
