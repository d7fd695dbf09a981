//! The Nucleo-F446RE, with an analog microphone at pin A0.
//!
//! Pins as in ST's UM1724 (STM32 Nucleo-64 boards): A0 of the Arduino header is PA0 (`ADC123_IN0`); LD2 is PA5; the serial line to the ST-LINK is PA2 (out) and PA3 (in).
//! The microphone is a module with an amplifier, such as those with a MAX9814 or MAX4466: its output swings by up to 1 V around half of its supply of 3.3 V.

#![no_std]

use embassy_executor::InterruptExecutor;
use embassy_stm32::adc::{Adc, AdcChannel, AnyAdcChannel, Exten, SampleTime};
use embassy_stm32::flash::{Bank1Region3, Blocking, Flash};
use embassy_stm32::gpio::{Level as Pin, Output, Speed};
use embassy_stm32::interrupt;
use embassy_stm32::interrupt::{InterruptExt, Priority};
use embassy_stm32::time::Hertz;
use embassy_stm32::timer::low_level::{MasterMode, RoundTo, Timer};
use embassy_stm32::usart::{self, BufferedInterruptHandler, BufferedUart, BufferedUartRx, BufferedUartTx};
use embassy_stm32::{Config, Peri, bind_interrupts, dma, peripherals, rcc, triggers};
use smidgen_application::{BLOCK, Level, Light, Part, Queue, sample_rate};
use static_cell::StaticCell;

bind_interrupts!(struct Interrupts {
    DMA2_STREAM0 => dma::InterruptHandler<peripherals::DMA2_CH0>;
    USART2 => BufferedInterruptHandler<peripherals::USART2>;
});

static SAMPLES: Queue<32> = Queue::new();
static EXECUTOR: InterruptExecutor = InterruptExecutor::new();

/// No UART4 is used here: its interrupt is free.
#[interrupt]
unsafe fn UART4() {
    // SAFETY: called by the interrupt that the executor was started with, and by nobody else.
    unsafe { EXECUTOR.on_interrupt() }
}

/// What the microphone takes.
struct Microphone {
    converter: Adc<'static, peripherals::ADC1>,
    channel: AnyAdcChannel<'static, peripherals::ADC1>,
    timer: Timer<'static, peripherals::TIM2>,
    memory: Peri<'static, peripherals::DMA2_CH0>,
}

/// Samples for ever, with no gap: the timer starts each conversion, and direct memory access fills a ring of two blocks.
#[embassy_executor::task]
async fn sample(microphone: Microphone) {
    let Microphone { converter, channel, timer, memory } = microphone;
    // 1 V of 3.3 are 1,241 of 4,096 steps: the full swing is a little above half of full scale.
    let mut level = Level::new(16);
    let mut ring = [0; 2 * BLOCK];
    let sequence = [(channel, SampleTime::CYCLES84)].into_iter();
    let mut converter = converter.into_ring_buffered(
        memory,
        &mut ring,
        Interrupts,
        sequence,
        triggers::TIM2_TRGO,
        Exten::RISING_EDGE,
    );
    timer.set_frequency(Hertz(sample_rate()), RoundTo::Slower);
    timer.set_master_mode(MasterMode::UPDATE);
    timer.start();
    let mut block = [0_u16; BLOCK];
    loop {
        // After an overrun it goes on with what is new.
        if converter.read(&mut block).await.is_ok() {
            SAMPLES.push(level.block(&block));
        }
    }
}

/// 160 MHz from the internal oscillator of 16 MHz: enough for any model, and a multiple of the usual sample rates.
fn clocks() -> Config {
    use rcc::{AHBPrescaler, APBPrescaler, Pll, PllMul, PllPDiv, PllPreDiv, PllSource, Sysclk};
    let mut config = Config::default();
    config.rcc.hsi = true;
    config.rcc.pll_src = PllSource::HSI;
    config.rcc.pll = Some(Pll {
        prediv: PllPreDiv::DIV8,
        mul: PllMul::MUL160,
        divp: Some(PllPDiv::DIV2),
        divq: None,
        divr: None,
    });
    config.rcc.ahb_pre = AHBPrescaler::DIV1;
    config.rcc.apb1_pre = APBPrescaler::DIV4;
    config.rcc.apb2_pre = APBPrescaler::DIV2;
    config.rcc.sys = Sysclk::PLL1_P;
    config
}

/// What writes the flash: the sectors of 128 KB.
pub type ModelFlash = Bank1Region3<'static, Blocking>;

/// Where the processor sees the first of these sectors.
const SECTORS_ADDRESS: usize = 0x0802_0000;

/// What the application takes.
#[expect(missing_debug_implementations, reason = "peripherals have none")]
pub struct Board {
    /// The microphone.
    pub samples: &'static Queue<32>,
    /// The light.
    pub light: Light<Output<'static>>,
    /// The serial line, out.
    pub serial: BufferedUartTx<'static>,
    /// The serial line, in.
    pub commands: BufferedUartRx<'static>,
    /// Flash for models that come later.
    pub models: Part<ModelFlash>,
}

/// Starts the board, and its microphone at the rate of the model that is built in. Once.
pub async fn start() -> Board {
    let board = embassy_stm32::init(clocks());
    let microphone = Microphone {
        converter: Adc::new(board.ADC1),
        channel: board.PA0.degrade_adc(),
        timer: Timer::new(board.TIM2),
        memory: board.DMA2_CH0,
    };
    interrupt::UART4.set_priority(Priority::P6);
    let spawner = EXECUTOR.start(interrupt::UART4);
    spawner.spawn(defmt::unwrap!(sample(microphone)));

    let light = Light::active_high(Output::new(board.PA5, Pin::Low, Speed::Low));
    static SENT: StaticCell<[u8; 128]> = StaticCell::new();
    static RECEIVED: StaticCell<[u8; 128]> = StaticCell::new();
    let line = BufferedUart::new(
        board.USART2,
        board.PA3,
        board.PA2,
        SENT.init([0; 128]),
        RECEIVED.init([0; 128]),
        Interrupts,
        usart::Config::default(),
    );
    let (serial, commands) = defmt::unwrap!(line).split();
    let models = models(Flash::new_blocking(board.FLASH).into_blocking_regions().bank1_region3);
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
    Part::new(driver, (start.addr() - SECTORS_ADDRESS) as u32, mapped)
}
