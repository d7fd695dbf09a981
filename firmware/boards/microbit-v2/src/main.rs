//! Listens with the model that is built in, blinks and writes what it hears.

#![no_std]
#![no_main]

use defmt_rtt as _;
use embassy_executor::Spawner;
use embassy_time::Delay;
use panic_probe as _;

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let board = microbit_v2::start().await;
    smidgen_application::run(board.samples, board.light, Delay, board.serial).await;
}
