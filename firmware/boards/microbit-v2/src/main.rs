//! Listens, blinks and writes what it hears, and takes a new model over the serial line.

#![no_std]
#![no_main]

use defmt_rtt as _;
use embassy_executor::Spawner;
use embassy_time::Delay;
use panic_probe as _;
use smidgen_application::{POLICY, run_and_update};

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let board = microbit_v2::start().await;
    let (samples, light) = (board.samples, board.light);
    run_and_update(samples, light, Delay, board.serial, board.commands, board.models, POLICY).await;
    cortex_m::peripheral::SCB::sys_reset();
}
