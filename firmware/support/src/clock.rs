//! Counting instructions, with a timer of the emulated machine.
//!
//! With `-icount`, the machine's time advances by a fixed amount for every instruction, and by nothing else: a timer's ticks are
//! instructions, times a factor that [`Machine`](smidgen_protocol::machine::Machine) knows. These are instructions, not cycles.

use core::arch::asm;
use core::ptr::{read_volatile, write_volatile};

use smidgen_protocol::job::Probe;
use smidgen_protocol::machine::Timer;
use smidgen_protocol::{CALIBRATION, Record};

use crate::{MACHINE, stack};

/// The timer, running.
#[derive(Debug)]
pub struct Clock(());

fn write(base: u32, offset: u32, value: u32) {
    // SAFETY: a register of the machine's timer, from the table of machines; nothing in memory depends on it.
    unsafe { write_volatile((base + offset) as usize as *mut u32, value) }
}

fn read(base: u32, offset: u32) -> u32 {
    // SAFETY: as in `write`.
    unsafe { read_volatile((base + offset) as usize as *const u32) }
}

impl Clock {
    /// Starts the timer.
    pub fn start() -> Self {
        match MACHINE.timer {
            Timer::Nrf { base } => {
                write(base, 0x508, 3); // BITMODE: 32 bits
                write(base, 0x510, 0); // PRESCALER: none
                write(base, 0x000, 1); // TASKS_START
            }
            Timer::CmsdkDual { base } => {
                write(base, 0x00, u32::MAX); // Timer1Load
                write(base, 0x08, 0x82); // Timer1Control: enabled, free-running, 32 bits, no prescaler
            }
            Timer::Stm32 { base, prescaler } => {
                write(base, 0x28, prescaler); // TIMx_PSC
                write(base, 0x2c, u32::MAX); // TIMx_ARR
                write(base, 0x14, 1); // TIMx_EGR: take them over
                write(base, 0x00, 1); // TIMx_CR1: enabled
            }
            Timer::SseCounter { control, .. } => write(control, 0x00, 1), // CNTCR: enabled
        }
        Self(())
    }

    /// Measures an empty interval and loops of known length.
    pub fn calibrate(&mut self) -> Record<'static> {
        let began = self.ticks();
        let empty = self.ticks().wrapping_sub(began);
        let [short, long] = CALIBRATION;
        Record::Calibrated { empty, loops: [self.spin(short / 2), self.spin(long / 2)] }
    }

    /// Takes two instructions `n` times, and some more that do not depend on `n`, and returns the ticks of all. Not inlined, so that there
    /// is only one such loop.
    #[inline(never)]
    fn spin(&mut self, n: u32) -> u32 {
        let began = self.ticks();
        // SAFETY: changes one register and the flags.
        unsafe {
            asm!("2:", "subs {n}, #1", "bne 2b", n = inout(reg) n => _, options(nomem, nostack));
        }
        self.ticks().wrapping_sub(began)
    }
}

impl Probe for Clock {
    #[inline]
    fn ticks(&mut self) -> u32 {
        match MACHINE.timer {
            Timer::Nrf { base } => {
                write(base, 0x040, 1); // TASKS_CAPTURE[0]
                read(base, 0x540) // CC[0]
            }
            Timer::CmsdkDual { base } => !read(base, 0x04), // Timer1Value, counting down
            Timer::Stm32 { base, .. } => read(base, 0x24),  // TIMx_CNT
            Timer::SseCounter { status, .. } => read(status, 0x00), // CNTCVL
        }
    }

    fn stack<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> (R, u32) {
        stack::measure(|| work(self))
    }
}
