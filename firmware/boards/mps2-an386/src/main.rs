//! Listens to a file of the host, writes what it hears to the serial line, and takes a new model over it.

#![no_std]
#![no_main]

use embassy_executor::Spawner;
use mps2_an386::Delay;
use panic_semihosting as _;
use smidgen_application::{POLICY, run_and_update};

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let board = mps2_an386::start();
    let (samples, light) = (board.samples, board.light);
    run_and_update(samples, light, Delay, board.serial, board.commands, board.models, POLICY).await;
    cortex_m::peripheral::SCB::sys_reset();
}
