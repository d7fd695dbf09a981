//! QEMU's MPS2 AN386: the application of all boards where nobody has a board.
//!
//! Its microphone is the file `samples.raw` beside the emulator (16 bits a sample, least significant byte first), which it hears once at the model's rate; its light is nowhere; its serial line is UART 0 of Arm's CMSDK
//! (Arm DDI 0479, section 4.3). Its flash is memory with the rules of a flash: pages of 4 KB, words of 4 bytes, and a write clears bits only. It outlasts a reset, and nothing else.

#![no_std]

use core::convert::Infallible;

use cortex_m_semihosting::syscall;
use embassy_futures::yield_now;
use embedded_hal::digital::{ErrorType as PinErrorType, OutputPin};
use embedded_hal_async::delay::DelayNs;
use embedded_io_async::{ErrorType as LineErrorType, Read, Write};
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use smidgen_application::{BLOCK, Block, Light, Part, Samples, sample_rate};

/// Timer 0: control, value, reload.
const TIMER: usize = 0x4000_0000;
const TIMER_MHZ: u32 = 25;
/// UART 0: data, state, control, and at 16 the divider.
const UART: usize = 0x4000_4000;
const SEND_IS_FULL: u32 = 1;
const RECEIVE_IS_FULL: u32 = 2;

/// A register of a peripheral.
#[derive(Clone, Copy, Debug)]
struct Register(usize);

impl Register {
    fn read(self) -> u32 {
        // SAFETY: the constants above are registers of this machine, which can be read at any time.
        unsafe { (self.0 as *const u32).read_volatile() }
    }

    fn write(self, value: u32) {
        // SAFETY: as above; what they do touches no memory.
        unsafe { (self.0 as *mut u32).write_volatile(value) }
    }
}

/// Waits by looking at the timer, and lets others run.
#[derive(Clone, Copy, Debug)]
pub struct Delay;

impl DelayNs for Delay {
    async fn delay_ns(&mut self, ns: u32) {
        let now = || !Register(TIMER + 4).read();
        let (start, ticks) = (now(), (u64::from(ns) * u64::from(TIMER_MHZ) / 1_000) as u32);
        while now().wrapping_sub(start) < ticks {
            yield_now().await;
        }
    }
}

/// The samples in the file.
#[derive(Debug)]
pub struct Recording {
    file: Option<usize>,
}

impl Recording {
    fn open() -> Self {
        let name = b"samples.raw\0";
        // SAFETY: the host reads the name, which ends with a zero; mode 1 is for reading.
        let found = unsafe { syscall!(OPEN, name.as_ptr(), 1, name.len() - 1) };
        Self { file: (found != usize::MAX).then_some(found) }
    }
}

impl Samples for Recording {
    async fn next(&mut self) -> Block {
        Delay.delay_us(BLOCK as u32 * 1_000_000 / sample_rate()).await;
        let mut bytes = [0_u8; 2 * BLOCK];
        let missing = match self.file {
            // SAFETY: the host writes as many bytes as there is room for.
            Some(file) => unsafe { syscall!(READ, file, bytes.as_mut_ptr(), bytes.len()) },
            None => bytes.len(),
        };
        if missing == bytes.len() {
            // Nothing more is to be heard.
            core::future::pending::<()>().await;
        }
        let mut block = [0; BLOCK];
        for (sample, &bytes) in block.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *sample = i16::from_le_bytes(bytes);
        }
        block
    }
}

/// A light that nobody sees.
#[derive(Debug)]
pub struct Dark;

impl PinErrorType for Dark {
    type Error = Infallible;
}

impl OutputPin for Dark {
    fn set_low(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A direction of the serial line.
#[derive(Debug)]
pub struct Uart;

impl LineErrorType for Uart {
    type Error = Infallible;
}

impl Read for Uart {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Infallible> {
        let Some(place) = bytes.first_mut() else { return Ok(0) };
        while Register(UART + 4).read() & RECEIVE_IS_FULL == 0 {
            yield_now().await;
        }
        *place = Register(UART).read() as u8;
        Ok(1)
    }
}

impl Write for Uart {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for &byte in bytes {
            while Register(UART + 4).read() & SEND_IS_FULL != 0 {
                yield_now().await;
            }
            Register(UART).write(byte.into());
        }
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Memory with the rules of a flash.
#[derive(Debug)]
pub struct ModelFlash {
    start: *mut u8,
    length: usize,
}

/// Against the rules.
#[derive(Clone, Copy, Debug)]
pub struct FlashError(NorFlashErrorKind);

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        self.0
    }
}

impl ErrorType for ModelFlash {
    type Error = FlashError;
}

impl ReadNorFlash for ModelFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        check_read(self, offset, bytes.len()).map_err(FlashError)?;
        for (index, byte) in bytes.iter_mut().enumerate() {
            // SAFETY: within the memory, as was checked.
            *byte = unsafe { self.start.add(offset as usize + index).read_volatile() };
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.length
    }
}

impl NorFlash for ModelFlash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        check_erase(self, from, to).map_err(FlashError)?;
        for index in from as usize..to as usize {
            // SAFETY: within the memory, as was checked. Nothing holds a reference to the slot that is not in use.
            unsafe { self.start.add(index).write_volatile(0xff) };
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        check_write(self, offset, bytes.len()).map_err(FlashError)?;
        for (index, &byte) in bytes.iter().enumerate() {
            // SAFETY: as for erasing.
            unsafe {
                let place = self.start.add(offset as usize + index);
                place.write_volatile(place.read_volatile() & byte);
            }
        }
        Ok(())
    }
}

/// What the application takes.
#[derive(Debug)]
pub struct Board {
    /// The microphone.
    pub samples: Recording,
    /// The light.
    pub light: Light<Dark>,
    /// The serial line, out.
    pub serial: Uart,
    /// The serial line, in.
    pub commands: Uart,
    /// Flash for models that come later.
    pub models: Part<ModelFlash>,
}

/// Starts the board. Once.
pub fn start() -> Board {
    for offset in [4, 8] {
        Register(TIMER + offset).write(u32::MAX);
    }
    Register(TIMER).write(1);
    // The emulator takes any divider from 16 on, and is as fast as it can.
    Register(UART + 16).write(16);
    Register(UART + 8).write(3);
    unsafe extern "C" {
        static mut __models_start: u8;
        static __models_end: u8;
    }
    let (start, end) = (&raw mut __models_start, &raw const __models_end);
    let length = end.addr() - start.addr();
    // SAFETY: the memory is there, and nothing else is in it. It is written by the driver only: into the slot that is not in use, before a restart.
    let mapped = unsafe { core::slice::from_raw_parts(start.cast_const(), length) };
    let models = Part::new(ModelFlash { start, length }, 0, mapped);
    Board {
        samples: Recording::open(),
        light: Light::active_high(Dark),
        serial: Uart,
        commands: Uart,
        models,
    }
}
