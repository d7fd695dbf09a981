//! The BBC micro:bit v2: its own microphone, its display's first light, its serial line over USB.
//!
//! Pins as in the board's schematic and pin map (<https://tech.microbit.org/hardware/schematic/>): the microphone's output is at P0.05 (AIN3) and it has power while P0.20 is high; row 1
//! of the display is P0.21, column 1 is P0.28, which a light needs low; the serial line to the interface chip is P0.06 (out) and P1.08 (in). The microphone takes its current from
//! P0.20, hence the high drive. The converter's gain of 4 is that of the board's own runtime (`MicroBitAudio` of codal-microbit-v2).

#![no_std]

use embassy_executor::InterruptExecutor;
use embassy_nrf::buffered_uarte::{self, BufferedUarte, BufferedUarteRx, BufferedUarteTx};
use embassy_nrf::gpio::{Level as Pin, Output, OutputDrive};
use embassy_nrf::interrupt;
use embassy_nrf::interrupt::{InterruptExt, Priority};
use embassy_nrf::nvmc::Nvmc;
use embassy_nrf::saadc::{self, CallbackResult, ChannelConfig, Gain, Resolution, Saadc};
use embassy_nrf::timer::Frequency;
use embassy_nrf::uarte;
use embassy_nrf::{Peri, bind_interrupts, peripherals};
use smidgen_application::{BLOCK, Level, Light, Part, Queue, sample_rate};
use static_cell::StaticCell;

bind_interrupts!(struct Interrupts {
    SAADC => saadc::InterruptHandler;
    UARTE0 => buffered_uarte::InterruptHandler<peripherals::UARTE0>;
});

static SAMPLES: Queue<32> = Queue::new();
static EXECUTOR: InterruptExecutor = InterruptExecutor::new();

#[interrupt]
unsafe fn EGU0_SWI0() {
    // SAFETY: called by the interrupt that the executor was started with, and by nobody else.
    unsafe { EXECUTOR.on_interrupt() }
}

/// What the microphone takes.
struct Microphone {
    converter: Saadc<'static, 1>,
    timer: Peri<'static, peripherals::TIMER1>,
    channels: (Peri<'static, peripherals::PPI_CH0>, Peri<'static, peripherals::PPI_CH1>),
    _power: Output<'static>,
}

/// Samples for ever, with no gap: the timer starts each conversion, and the converter's direct memory access takes turns with two blocks.
#[embassy_executor::task]
async fn sample(mut microphone: Microphone) {
    // A gain of 16 beside the converter's: speech at arm's length is some tens of the 16,384 steps.
    let mut level = Level::new(16);
    let mut blocks = [[[0; 1]; BLOCK]; 2];
    let ticks = 16_000_000 / sample_rate();
    let Microphone { converter, timer, channels: (first, second), _power } = &mut microphone;
    let (timer, first, second) = (timer.reborrow(), first.reborrow(), second.reborrow());
    converter
        .run_task_sampler(timer, first, second, Frequency::F16MHz, ticks, &mut blocks, |block| {
            if let Some(block) = block.as_flattened().first_chunk() {
                SAMPLES.push(level.block(block));
            }
            CallbackResult::Continue
        })
        .await;
}

/// What the application takes.
#[expect(missing_debug_implementations, reason = "peripherals have none")]
pub struct Board {
    /// The microphone.
    pub samples: &'static Queue<32>,
    /// The light.
    pub light: Light<Output<'static>>,
    /// The serial line, out.
    pub serial: BufferedUarteTx<'static>,
    /// The serial line, in.
    pub commands: BufferedUarteRx<'static>,
    /// Flash for models that come later.
    pub models: Part<Nvmc<'static>>,
}

/// Starts the board, and its microphone at the rate of the model that is built in. Once.
pub async fn start() -> Board {
    let board = embassy_nrf::init(Default::default());
    let mut channel = ChannelConfig::single_ended(board.P0_05);
    channel.gain = Gain::Gain4;
    let mut config = saadc::Config::default();
    config.resolution = Resolution::_14bit;
    let converter = Saadc::new(board.SAADC, Interrupts, config, [channel]);
    converter.calibrate().await;
    let power = Output::new(board.P0_20, Pin::High, OutputDrive::HighDrive);
    let channels = (board.PPI_CH0, board.PPI_CH1);
    let microphone = Microphone { converter, timer: board.TIMER1, channels, _power: power };

    interrupt::EGU0_SWI0.set_priority(Priority::P6);
    let spawner = EXECUTOR.start(interrupt::EGU0_SWI0);
    spawner.spawn(defmt::unwrap!(sample(microphone)));

    // It stays low.
    Output::new(board.P0_28, Pin::Low, OutputDrive::Standard).persist();
    let light = Light::active_high(Output::new(board.P0_21, Pin::Low, OutputDrive::Standard));
    static SENT: StaticCell<[u8; 128]> = StaticCell::new();
    static RECEIVED: StaticCell<[u8; 128]> = StaticCell::new();
    let line = BufferedUarte::new(
        board.UARTE0,
        board.TIMER2,
        board.PPI_CH2,
        board.PPI_CH3,
        board.PPI_GROUP0,
        board.P1_08,
        board.P0_06,
        Interrupts,
        uarte::Config::default(),
        RECEIVED.init([0; 128]),
        SENT.init([0; 128]),
    );
    let (commands, serial) = line.split();
    Board { samples: &SAMPLES, light, serial, commands, models: models(Nvmc::new(board.NVMC)) }
}

/// The part of the flash that memory.x keeps for models.
fn models(driver: Nvmc<'static>) -> Part<Nvmc<'static>> {
    unsafe extern "C" {
        static __models_start: u8;
        static __models_end: u8;
    }
    let (start, end) = (&raw const __models_start, &raw const __models_end);
    // SAFETY: this part of the flash can always be read, and nothing else is in it. It is written by the part's driver only: into the slot that is not in use, before a restart.
    let mapped = unsafe { core::slice::from_raw_parts(start, end.addr() - start.addr()) };
    Part::new(driver, start.addr() as u32, mapped)
}
