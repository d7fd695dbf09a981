//! The emulated machines: one row each.
//!
//! A row is all there is to a machine: the firmware's build script makes the linker's memory map from it, the firmware its clock, and
//! the host the emulator's command line.

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First address.
    pub start: u32,
    /// Length in bytes.
    pub bytes: u32,
}

/// The free-running timer that instructions are counted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// `TIMER0` of the nRF51, 32 bits, counting up.
    Nrf {
        /// Address of its registers.
        base: u32,
    },
    /// Timer 1 of Arm's CMSDK dual timer, 32 bits, counting down.
    CmsdkDual {
        /// Address of its registers.
        base: u32,
    },
    /// A 32-bit timer of an STM32, counting up.
    Stm32 {
        /// Address of its registers.
        base: u32,
        /// What its clock is divided by, less one.
        prescaler: u32,
    },
    /// The system counter of Arm's SSE-300.
    SseCounter {
        /// Address of the control frame.
        control: u32,
        /// Address of the status frame.
        status: u32,
    },
}

/// An emulated machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Name of the core, as the command line's `TARGET`.
    pub name: &'static str,
    /// QEMU's name of the machine.
    pub qemu: &'static str,
    /// Rust's target.
    pub triple: &'static str,
    /// Rust's `target-cpu`, where it is not the target's own.
    pub cpu: Option<&'static str>,
    /// Whether the processor has the DSP extension although not all of the target's have: smidgen's feature `dsp`.
    pub dsp: bool,
    /// Where the image goes.
    pub flash: Region,
    /// Where the host puts the model file.
    pub model: Region,
    /// Read-write memory: statics, then the session's memory, then the stack.
    pub ram: Region,
    /// How much of the end of `ram` the stack may use.
    pub stack_bytes: u32,
    /// The timer.
    pub timer: Timer,
    /// The timer's frequency.
    pub timer_hz: u32,
    /// The name of a machine that executes the same images, linked for its memory, and has more of it.
    pub larger: Option<&'static str>,
    /// QEMU's `-icount shift=`: an instruction takes `2^shift` ns of the timer's time.
    pub icount_shift: u8,
}

const MIB: u32 = 1024 * 1024;
const KIB: u32 = 1024;

/// Arm's MPS2 board; the three images with an Armv7-M core differ in nothing that is used here but the core.
const MPS2: Machine = Machine {
    name: "cortex-m4",
    qemu: "mps2-an386",
    triple: "thumbv7em-none-eabihf",
    cpu: None,
    dsp: false,
    flash: Region { start: 0, bytes: 2 * MIB },
    model: Region { start: 0x0020_0000, bytes: 2 * MIB },
    ram: Region { start: 0x2000_0000, bytes: 4 * MIB },
    stack_bytes: 64 * KIB,
    timer: Timer::CmsdkDual { base: 0x4000_2000 },
    timer_hz: 25_000_000,
    larger: None,
    icount_shift: 6,
};

/// The machines.
pub const MACHINES: [Machine; 8] = [
    Machine {
        name: "cortex-m0",
        qemu: "microbit",
        triple: "thumbv6m-none-eabi",
        flash: Region { start: 0, bytes: 220 * KIB },
        model: Region { start: 220 * KIB, bytes: 36 * KIB },
        ram: Region { start: 0x2000_0000, bytes: 16 * KIB },
        stack_bytes: 7 * KIB,
        timer: Timer::Nrf { base: 0x4000_8000 },
        timer_hz: 16_000_000,
        larger: Some("cortex-m0-large"),
        ..MPS2
    },
    // The largest machine with a Cortex-M0 that is emulated has 16 KB. A Cortex-M3 executes all instructions of Armv6-M, and executes the same of them: their number
    // is that of a Cortex-M0. (It allows unaligned accesses, which a Cortex-M0 does not: that they do not occur shows only on the small one.)
    Machine { name: "cortex-m0-large", qemu: "mps2-an385", triple: "thumbv6m-none-eabi", ..MPS2 },
    Machine { name: "cortex-m3", qemu: "mps2-an385", triple: "thumbv7m-none-eabi", ..MPS2 },
    MPS2,
    Machine { name: "cortex-m7", qemu: "mps2-an500", ..MPS2 },
    Machine {
        name: "cortex-m33",
        qemu: "mps2-an505",
        triple: "thumbv8m.main-none-eabihf",
        dsp: true,
        flash: Region { start: 0x1000_0000, bytes: 2 * MIB },
        model: Region { start: 0x1020_0000, bytes: 2 * MIB },
        ram: Region { start: 0x3800_0000, bytes: 4 * MIB },
        timer: Timer::CmsdkDual { base: 0x5000_2000 },
        timer_hz: 20_000_000,
        ..MPS2
    },
    Machine {
        name: "cortex-m55",
        qemu: "mps3-an547",
        triple: "thumbv8m.main-none-eabihf",
        cpu: Some("cortex-m55"),
        dsp: true,
        flash: Region { start: 0, bytes: 512 * KIB },
        model: Region { start: 0x0100_0000, bytes: 2 * MIB },
        ram: Region { start: 0x2000_0000, bytes: 512 * KIB },
        timer: Timer::SseCounter { control: 0x5810_0000, status: 0x5810_1000 },
        timer_hz: 32_000_000,
        icount_shift: 5,
        ..MPS2
    },
    // A board with as little memory as many have: the STM32F405 of a Netduino Plus 2, without its core-coupled memory. QEMU's timers count nanoseconds.
    Machine {
        name: "netduinoplus2",
        qemu: "netduinoplus2",
        flash: Region { start: 0x0800_0000, bytes: 640 * KIB },
        model: Region { start: 0x080a_0000, bytes: 384 * KIB },
        ram: Region { start: 0x2000_0000, bytes: 128 * KIB },
        stack_bytes: 4 * KIB,
        timer: Timer::Stm32 { base: 0x4000_0000, prescaler: 39 },
        ..MPS2
    },
];

/// The machine of this name.
pub const fn find(name: &str) -> Option<&'static Machine> {
    let mut machines: &[Machine] = &MACHINES;
    while let [machine, rest @ ..] = machines {
        if same(machine.name.as_bytes(), name.as_bytes()) {
            return Some(machine);
        }
        machines = rest;
    }
    None
}

const fn same(mut a: &[u8], mut b: &[u8]) -> bool {
    while let ([x, a_rest @ ..], [y, b_rest @ ..]) = (a, b) {
        if *x != *y {
            return false;
        }
        (a, b) = (a_rest, b_rest);
    }
    a.is_empty() && b.is_empty()
}

impl Machine {
    /// Whether a model of this length, whose sessions take this much memory, has room; what an image needs besides, code and statics, is
    /// taken to be half of the flash and a sixteenth of the memory.
    pub const fn holds(&self, model_bytes: usize, session_bytes: usize) -> bool {
        let memory = self.ram.bytes - self.stack_bytes - self.ram.bytes / 16;
        model_bytes <= self.model.bytes as usize
            && model_bytes <= self.flash.bytes as usize / 2
            && session_bytes <= memory as usize
    }

    /// The number of instructions whose time is `ticks` of the timer, to the nearest.
    ///
    /// The timer's value is rounded down both times it is read and a tick is shorter than an instruction, so that the result is exact to
    /// one instruction.
    pub const fn instructions(&self, ticks: u64) -> u64 {
        let instruction_ns = 1u64 << self.icount_shift;
        let divisor = instruction_ns * self.timer_hz as u64;
        // Split, so that the product fits.
        let (whole, rest) = (ticks / divisor, ticks % divisor);
        whole * 1_000_000_000 + (rest as u128 * 1_000_000_000 + divisor as u128 / 2) as u64 / divisor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_found_by_name() {
        for machine in &MACHINES {
            assert_eq!(find(machine.name).map(|found| found.qemu), Some(machine.qemu));
        }
        assert!(find("cortex-m").is_none() && find("cortex-m41").is_none());
    }

    #[test]
    fn a_larger_machine_executes_the_same_instructions_and_is_larger() {
        for machine in &MACHINES {
            let Some(larger) = machine.larger else { continue };
            let larger = find(larger).unwrap();
            assert_eq!((larger.triple, larger.cpu, larger.dsp), (machine.triple, machine.cpu, machine.dsp));
            assert!(larger.ram.bytes > machine.ram.bytes && larger.flash.bytes > machine.flash.bytes);
            let model = machine.model.bytes as usize;
            assert!(machine.holds(model, 1000) && !machine.holds(model + 1, 1000));
            assert!(!machine.holds(1000, machine.ram.bytes as usize) && larger.holds(model + 1, 100_000));
        }
    }

    #[test]
    fn ticks_are_shorter_than_instructions_and_convert() {
        for machine in &MACHINES {
            let tick_ns = 1_000_000_000.0 / f64::from(machine.timer_hz);
            let instruction_ns = f64::from(1u32 << machine.icount_shift);
            assert!(tick_ns < instruction_ns, "{}", machine.name);
            for n in [0u64, 1, 2, 3, 1000, 1_234_567, 2_500_000_000] {
                let ticks = (n as f64 * instruction_ns / tick_ns).floor() as u64;
                assert!(machine.instructions(ticks).abs_diff(n) <= 1, "{} {n}", machine.name);
            }
        }
    }
}
