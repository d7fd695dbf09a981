//! The figures of the epochs as an event file for TensorBoard.
//!
//! A file is a row of records (`tensorflow/core/lib/io/record_writer.h`): length, masked CRC-32C of the length, bytes, masked CRC-32C of the bytes. The
//! bytes are an `Event` of `tensorflow/core/util/event.proto` in protocol buffers' encoding.

use smidgen::checksum::crc32c;

use super::checkpoint::EpochRecord;

/// An event file, as far as it has been written.
#[derive(Clone, Debug)]
pub struct EventFile {
    bytes: Vec<u8>,
}

impl EventFile {
    /// A file that begins at this time, in seconds since 1970.
    pub fn new(wall_time: f64) -> Self {
        let mut bytes = Vec::new();
        let mut event = time(wall_time);
        // file_version
        field(&mut event, 3, b"brain.Event:2");
        record(&mut bytes, &event);
        Self { bytes }
    }

    /// Adds the figures of an epoch, their names behind `prefix`.
    pub fn epoch(&mut self, wall_time: f64, prefix: &str, epoch: &EpochRecord) {
        let figures = [
            ("loss/training", Some(epoch.train_loss)),
            ("loss/held out", epoch.validation_loss),
            ("accuracy/training", epoch.train_accuracy),
            ("accuracy/held out", epoch.validation_accuracy),
            ("learning rate", Some(f64::from(epoch.learning_rate))),
        ];
        let mut summary = Vec::new();
        for (tag, value) in figures.into_iter().filter_map(|(tag, value)| Some((tag, value?))) {
            let mut entry = Vec::new();
            // Summary.Value: tag, simple_value
            field(&mut entry, 1, format!("{prefix}{tag}").as_bytes());
            entry.push(2 << 3 | 5);
            entry.extend((value as f32).to_le_bytes());
            field(&mut summary, 1, &entry);
        }
        let mut event = time(wall_time);
        // step, summary
        event.push(2 << 3);
        variable(&mut event, epoch.epoch.into());
        field(&mut event, 5, &summary);
        record(&mut self.bytes, &event);
    }

    /// The file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// An event that has its time only.
fn time(seconds: f64) -> Vec<u8> {
    let mut event = vec![1 << 3 | 1];
    event.extend(seconds.to_le_bytes());
    event
}

/// A field of bytes.
fn field(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | 2);
    variable(message, bytes.len() as u64);
    message.extend(bytes);
}

fn variable(message: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        message.push(number as u8 | 0x80);
        number >>= 7;
    }
    message.push(number as u8);
}

fn record(file: &mut Vec<u8>, event: &[u8]) {
    let length = (event.len() as u64).to_le_bytes();
    file.extend(length);
    file.extend(masked(&length).to_le_bytes());
    file.extend(event);
    file.extend(masked(event).to_le_bytes());
}

/// `tensorflow/core/lib/hash/crc32c.h`
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_record_is_tensorboard_s() {
        // The first bytes of every event file of TensorBoard: the length of that record is always 24.
        let file = EventFile::new(0.0);
        assert_eq!(file.bytes()[..12], [24, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22]);
        assert_eq!(&file.bytes()[12..36], b"\x09\0\0\0\0\0\0\0\0\x1a\x0dbrain.Event:2");
        assert_eq!(file.bytes().len(), 8 + 4 + 24 + 4);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut file = EventFile::new(5.0);
        let epoch = EpochRecord {
            epoch: 300,
            learning_rate: 0.5,
            train_loss: 1.25,
            train_accuracy: Some(0.5),
            validation_loss: Some(2.0),
            validation_accuracy: None,
        };
        file.epoch(6.0, "int8 ", &epoch);
        let mut rest = file.bytes();
        let mut events = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(rest[8..12], masked(&rest[..8]).to_le_bytes());
            let event = &rest[12..12 + length];
            assert_eq!(rest[12 + length..][..4], masked(event).to_le_bytes());
            events.push(event);
            rest = &rest[16 + length..];
        }
        assert_eq!(events.len(), 2);
        let event = events[1];
        assert_eq!(event[..9], [&[9][..], &6.0_f64.to_le_bytes()].concat());
        // Step 300 as a variable-length number.
        assert_eq!(event[9..12], [16, 0xac, 0x02]);
        let text = String::from_utf8_lossy(event);
        for tag in
            ["int8 loss/training", "int8 loss/held out", "int8 accuracy/training", "int8 learning rate"]
        {
            assert!(text.contains(tag), "{text}");
        }
        assert!(!text.contains("accuracy/held out"));
        assert!(event.windows(5).any(|window| window == [&[0x15][..], &1.25_f32.to_le_bytes()].concat()));
    }
}
