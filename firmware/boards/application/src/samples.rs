//! From a converter to the network.

use core::sync::atomic::{AtomicU32, Ordering};

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;

/// Samples that come at once.
pub const BLOCK: usize = 64;

/// Samples that come at once, full scale being that of `i16`.
pub type Block = [i16; BLOCK];

/// Where samples come from, at the rate of the model.
#[expect(async_fn_in_trait, reason = "one executor runs it, nothing is sent between threads")]
pub trait Samples {
    /// The next block, when it is there.
    async fn next(&mut self) -> Block;
}

/// Blocks between an interrupt and the application, `N` of them at most.
///
/// They have to last for an inference: 32 blocks are a quarter of a second at 8 kHz.
#[derive(Debug)]
pub struct Queue<const N: usize> {
    channel: Channel<CriticalSectionRawMutex, Block, N>,
    lost: AtomicU32,
}

impl<const N: usize> Queue<N> {
    /// An empty queue.
    pub const fn new() -> Self {
        Self { channel: Channel::new(), lost: AtomicU32::new(0) }
    }

    /// Appends a block, from any interrupt; with no room for it, it is lost.
    pub fn push(&self, block: Block) {
        if self.channel.try_send(block).is_err() {
            // One interrupt pushes: nobody else writes between the two.
            self.lost.store(self.lost.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// Blocks that were lost because the application was too slow.
    pub fn lost(&self) -> u32 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl<const N: usize> Default for Queue<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Samples for &Queue<N> {
    async fn next(&mut self) -> Block {
        self.channel.receive().await
    }
}

/// Makes samples of what an analog-to-digital converter reads: its mean, which follows slowly, is taken away, and the rest is multiplied by a gain.
///
/// `mean = mean + (x - mean) / 1024`, a high-pass filter at `rate / 6434` (1.2 Hz at 8 kHz).
#[derive(Clone, Debug)]
pub struct Level {
    /// In 4096ths; `None` before the first sample, whose value it begins with.
    mean: Option<i32>,
    gain: i32,
}

impl Level {
    /// With a gain of 1 to 256.
    pub const fn new(gain: u8) -> Self {
        Self { mean: None, gain: if gain == 0 { 1 } else { gain as i32 } }
    }

    /// The sample of a reading of up to 16 bits.
    pub fn sample(&mut self, reading: i32) -> i16 {
        let scaled = reading.clamp(-0x8000, 0xffff) << 12;
        let mean = self.mean.get_or_insert(scaled);
        let difference = scaled - *mean;
        *mean += difference >> 10;
        // Not above 2^22 times 2^8.
        let amplified = ((difference >> 6) * self.gain) >> 6;
        amplified.clamp(i16::MIN.into(), i16::MAX.into()) as i16
    }

    /// A block of readings.
    pub fn block<T: Into<i32> + Copy>(&mut self, readings: &[T; BLOCK]) -> Block {
        readings.map(|reading| self.sample(reading.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_is_silence_and_a_step_fades() {
        let mut level = Level::new(16);
        assert_eq!([2048; BLOCK].map(|x| level.sample(x)), [0; BLOCK]);
        assert_eq!(level.sample(2148), 1600);
        let last = (0..10_000).map(|_| level.sample(2148)).last().unwrap();
        assert!(last < 16, "{last}");
    }

    #[test]
    fn what_is_too_loud_is_cut_off() {
        let mut level = Level::new(255);
        level.sample(0);
        assert_eq!(level.sample(0xffff), i16::MAX);
        assert_eq!(level.sample(i32::MAX), i16::MAX);
        assert_eq!(level.sample(i32::MIN), i16::MIN);
    }

    #[test]
    fn a_full_queue_loses_what_comes_and_counts_it() {
        let queue = Queue::<2>::new();
        for n in 0..4 {
            queue.push([n; BLOCK]);
        }
        assert_eq!(queue.lost(), 2);
        let mut samples = &queue;
        let first = embassy_futures::block_on(samples.next());
        let second = embassy_futures::block_on(samples.next());
        assert_eq!([first[0], second[0]], [0, 1]);
    }
}
