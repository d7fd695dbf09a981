//! The machine's memory: the model that the host put there, and what statics and stack leave free.

use core::ptr::addr_of_mut;
use core::slice;

use crate::MACHINE;

unsafe extern "C" {
    static mut __sheap: u8;
    static mut _stack_limit: u8;
}

/// The first `length` bytes of where the host's loader puts the model; `None` if there is not so much room.
pub fn model(length: usize) -> Option<&'static [u8]> {
    let region = MACHINE.model;
    if length > region.bytes as usize {
        return None;
    }
    // SAFETY: the linker puts nothing into this region, so that nothing ever writes it; the machine has memory there.
    Some(unsafe { slice::from_raw_parts(region.start as usize as *const u8, length) })
}

/// The memory between the statics and the stack, from a multiple of 16 bytes on. `None` if it was taken before.
pub fn take_free() -> Option<&'static mut [u8]> {
    static mut TAKEN: bool = false;
    let start = (addr_of_mut!(__sheap) as usize).next_multiple_of(16);
    let end = addr_of_mut!(_stack_limit) as usize;
    // SAFETY: one core, and no interrupt is enabled: nothing else reads or writes the flag.
    if unsafe { TAKEN } || start >= end {
        return None;
    }
    // SAFETY: as above for the flag. The linker puts no static between these two symbols, the stack ends above them, and the
    // flag sees to it that the slice is made once. Memory of any contents is a valid `[u8]`; it is initialized by the reset of the machine.
    unsafe {
        TAKEN = true;
        Some(slice::from_raw_parts_mut(start as *mut u8, end - start))
    }
}
