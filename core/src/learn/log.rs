//! What a device notes of its learning, so that a host can do it again.

use crate::checksum::{Crc32c, crc32c};

/// Notes every so many steps the checksums of the samples and of the parameters.
///
/// Training gives the same bits everywhere. Whoever has the model file and the samples in the order in which they were learned comes to the same parameters; with
/// the seed, the order need not be kept if it was drawn from that. `smidgen replay` does so.
#[derive(Clone, Debug)]
pub struct Log {
    seed: u32,
    every: u32,
    steps: u32,
    samples: Crc32c,
}

/// What is noted: 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LogRecord {
    /// Where the device's random numbers began.
    pub seed: u32,
    /// Steps so far.
    pub steps: u32,
    /// CRC-32C of all samples so far: for each the bytes of its input, then its label in four bytes.
    pub samples: u32,
    /// CRC-32C of the parameters.
    pub parameters: u32,
}

impl Log {
    /// A log with a record after every `every` steps.
    pub fn new(seed: u32, every: u32) -> Self {
        Self { seed, every: every.max(1), steps: 0, samples: Crc32c::new() }
    }

    /// Notes a sample, before it is learned.
    pub fn sample(&mut self, input: &[u8], label: u32) {
        self.samples.update(input);
        self.samples.update(&label.to_le_bytes());
    }

    /// Counts a step. If a record is due, that is it.
    pub fn step(&mut self, parameters: &[u8]) -> Option<LogRecord> {
        self.steps = self.steps.wrapping_add(1);
        self.steps.is_multiple_of(self.every).then(|| LogRecord {
            seed: self.seed,
            steps: self.steps,
            samples: self.samples.clone().finish(),
            parameters: crc32c(parameters),
        })
    }
}

impl LogRecord {
    /// The record as a device writes it: four numbers, least significant byte first.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let numbers = [self.seed, self.steps, self.samples, self.parameters];
        for (place, number) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(numbers) {
            *place = number.to_le_bytes();
        }
        bytes
    }

    /// The record that [`to_bytes`](Self::to_bytes) wrote.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let mut numbers = [0; 4];
        for (number, &place) in numbers.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *number = u32::from_le_bytes(place);
        }
        let [seed, steps, samples, parameters] = numbers;
        Self { seed, steps, samples, parameters }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_when_due_and_tell_samples_apart() {
        let mut log = Log::new(7, 2);
        log.sample(b"ab", 1);
        assert_eq!(log.step(b"p"), None);
        log.sample(b"cd", 2);
        let record = log.step(b"q").unwrap();
        assert_eq!((record.seed, record.steps, record.parameters), (7, 2, crc32c(b"q")));
        assert_eq!(record.samples, crc32c(b"ab\x01\0\0\0cd\x02\0\0\0"));
        assert_eq!(LogRecord::from_bytes(record.to_bytes()), record);
        assert_eq!(log.step(b"q"), None);
    }
}
