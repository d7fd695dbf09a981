//! The Raspberry Pi Pico and the Pico 2, with an analog microphone at pin 31 (ADC0). Both crates have this file: the chips differ, the pins do not.
//!
//! Pins as in the datasheets of both, section 2: ADC0 is GP26 (pin 31), the light is GP25, the serial line is GP0 (out, pin 1) and GP1 (in, pin 2). The
//! microphone is a module with an amplifier, such as those with a MAX9814 or MAX4466: its output swings by up to 1 V around half of its supply of 3.3 V.

#![no_std]

use embassy_executor::InterruptExecutor;
use embassy_rp::adc::{self, Adc, Async, Channel};
use embassy_rp::flash::{Blocking, Flash};
use embassy_rp::gpio::{Level as Pin, Output, Pull};
use embassy_rp::interrupt;
use embassy_rp::interrupt::{InterruptExt, Priority};
use embassy_rp::uart::{self, BufferedInterruptHandler, BufferedUart, BufferedUartRx, BufferedUartTx};
use embassy_rp::{bind_interrupts, dma, peripherals};
use smidgen_application::{BLOCK, Level, Light, Part, Queue, sample_rate};
use static_cell::StaticCell;

bind_interrupts!(struct Interrupts {
    ADC_IRQ_FIFO => adc::InterruptHandler;
    DMA_IRQ_0 => dma::InterruptHandler<peripherals::DMA_CH0>;
    UART0_IRQ => BufferedInterruptHandler<peripherals::UART0>;
});

static SAMPLES: Queue<32> = Queue::new();
static EXECUTOR: InterruptExecutor = InterruptExecutor::new();

/// A software interrupt.
#[interrupt]
unsafe fn SWI_IRQ_1() {
    // SAFETY: called by the interrupt that the executor was started with, and by nobody else.
    unsafe { EXECUTOR.on_interrupt() }
}

/// What the microphone takes.
struct Microphone {
    converter: Adc<'static, Async>,
    channel: Channel<'static>,
    memory: dma::Channel<'static>,
}

/// Samples for ever. Between two blocks the converter waits for this task, which nothing but an interrupt keeps from running: some microseconds of 125.
#[embassy_executor::task]
async fn sample(mut microphone: Microphone) {
    let Microphone { converter, channel, memory } = &mut microphone;
    // 1 V of 3.3 are 1,241 of 4,096 steps: the full swing is a little above half of full scale.
    let mut level = Level::new(16);
    // The converter's clock has 48 MHz.
    let divider = (48_000_000 / sample_rate() - 1) as u16;
    let mut block = [0_u16; BLOCK];
    loop {
        if converter.read_many(channel, &mut block, divider, memory).await.is_ok() {
            SAMPLES.push(level.block(&block));
        }
    }
}

/// Bytes of flash that there are, of the board that has more: where models are says memory.x.
const FLASH_BYTES: usize = 4096 * 1024;

/// What writes the flash.
pub type ModelFlash = Flash<'static, peripherals::FLASH, Blocking, FLASH_BYTES>;

/// Where the processor sees the flash.
const FLASH_ADDRESS: usize = 0x1000_0000;

/// What the application takes.
#[expect(missing_debug_implementations, reason = "peripherals have none")]
pub struct Board {
    /// The microphone.
    pub samples: &'static Queue<32>,
    /// The light.
    pub light: Light<Output<'static>>,
    /// The serial line, out.
    pub serial: BufferedUartTx,
    /// The serial line, in.
    pub commands: BufferedUartRx,
    /// Flash for models that come later.
    pub models: Part<ModelFlash>,
}

/// Starts the board, and its microphone at the rate of the model that is built in. Once.
pub async fn start() -> Board {
    let board = embassy_rp::init(Default::default());
    let microphone = Microphone {
        converter: Adc::new(board.ADC, Interrupts, adc::Config::default()),
        channel: Channel::new_pin(board.PIN_26, Pull::None),
        memory: dma::Channel::new(board.DMA_CH0, Interrupts),
    };
    interrupt::SWI_IRQ_1.set_priority(Priority::P2);
    let spawner = EXECUTOR.start(interrupt::SWI_IRQ_1);
    spawner.spawn(defmt::unwrap!(sample(microphone)));

    let light = Light::active_high(Output::new(board.PIN_25, Pin::Low));
    static SENT: StaticCell<[u8; 128]> = StaticCell::new();
    static RECEIVED: StaticCell<[u8; 128]> = StaticCell::new();
    let line = BufferedUart::new(
        board.UART0,
        board.PIN_0,
        board.PIN_1,
        Interrupts,
        SENT.init([0; 128]),
        RECEIVED.init([0; 128]),
        uart::Config::default(),
    );
    let (serial, commands) = line.split();
    let models = models(Flash::new_blocking(board.FLASH));
    Board { samples: &SAMPLES, light, serial, commands, models }
}

/// The part of the flash that memory.x keeps for models.
fn models(driver: ModelFlash) -> Part<ModelFlash> {
    unsafe extern "C" {
        static __models_start: u8;
        static __models_end: u8;
    }
    let (start, end) = (&raw const __models_start, &raw const __models_end);
    // SAFETY: this part of the flash can always be read, and nothing else is in it. It is written by the part's driver only: into the slot that is not in use, before a restart.
    let mapped = unsafe { core::slice::from_raw_parts(start, end.addr() - start.addr()) };
    Part::new(driver, (start.addr() - FLASH_ADDRESS) as u32, mapped)
}
