//! A panic, a fault and an unexpected interrupt are failures: they say where, and leave the emulator with their exit code.

#[cfg(not(feature = "bare"))]
use cortex_m_rt::{ExceptionFrame, exception};
use smidgen_protocol::exit;

use crate::semihosting::{self, File};

/// Says what happened and at which number (an address or a line), and stops. Without formatting, which would be most of a small image.
pub(crate) fn stop(what: &str, number: u32) -> ! {
    say(what, number);
    semihosting::exit(exit::FAULT)
}

fn say(what: &str, number: u32) {
    if let Ok(error) = File::standard_error() {
        let mut digits = *b" 0x00000000\n";
        for (place, nibble) in digits.iter_mut().skip(3).zip((0..8).rev()) {
            *place = match (number >> (4 * nibble)) as u8 & 15 {
                value @ 0..=9 => b'0' + value,
                value => b'a' - 10 + value,
            };
        }
        // Nobody is left to be told if this fails.
        let _ = error.write(what.as_bytes());
        let _ = error.write(&digits);
    }
}

#[cfg(not(any(feature = "bare", feature = "prove-no-panic")))]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    match info.location() {
        Some(place) => {
            say("panic in", 0);
            say(place.file(), place.line());
        }
        None => say("panic", 0),
    }
    semihosting::exit(exit::PANIC)
}

#[cfg(feature = "prove-no-panic")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        safe fn smidgen_can_panic() -> !;
    }
    smidgen_can_panic()
}

#[cfg(all(feature = "bare", not(feature = "prove-no-panic")))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

#[cfg(not(feature = "bare"))]
#[exception]
#[allow(non_snake_case, reason = "the name is the runtime's")]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    stop("hard fault at", frame.pc())
}

#[cfg(not(feature = "bare"))]
#[exception]
#[allow(non_snake_case, reason = "the name is the runtime's")]
unsafe fn DefaultHandler(number: i16) {
    stop("unexpected exception", number.cast_unsigned().into())
}
