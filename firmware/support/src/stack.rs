//! How much stack a piece of work takes.

use core::arch::asm;
use core::ptr::{addr_of, read_volatile};

unsafe extern "C" {
    static _stack_limit: u32;
}

const PAINT: u32 = 0x5a11_c0de;

/// Runs `work` and returns, with its result, how many bytes of stack it took.
///
/// The free stack is painted before and looked through afterwards: the depth is that of the deepest word that changed. If not even the
/// last word that the stack may use kept its paint, the stack may have overflowed, and the machine stops as by a fault.
#[inline(never)]
pub fn measure<R>(work: impl FnOnce() -> R) -> (R, u32) {
    let limit = addr_of!(_stack_limit);
    let top: *const u32;
    // SAFETY: writes only between the end of the session's memory and the stack pointer, where nothing lives: no interrupt is enabled, and
    // neither this block nor the compiler keeps anything below the stack pointer.
    unsafe {
        asm!(
            "mov {top}, sp",
            "b 3f",
            "2:",
            "str {paint}, [{at}]",
            "adds {at}, #4",
            "3:",
            "cmp {at}, {top}",
            "blo 2b",
            top = out(reg) top,
            at = inout(reg) limit => _,
            paint = in(reg) PAINT,
            options(nostack),
        );
    }
    let result = work();
    let mut lowest = limit;
    // SAFETY: reads words between the limit and the stack pointer of before, which lie in the machine's memory.
    while lowest < top && unsafe { read_volatile(lowest) } == PAINT {
        lowest = lowest.wrapping_add(1);
    }
    if lowest == limit {
        crate::fault::stop("stack overflow", 0);
    }
    (result, (top as u32).wrapping_sub(lowest as u32))
}
