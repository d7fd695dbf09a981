//! Listens on the {{board}}, and blinks: once for the first class, twice for the second and so on.

#![no_std]
#![no_main]

use defmt_rtt as _;
use embassy_executor::Spawner;
use embassy_futures::select::{Either, select};
use embassy_time::Delay;
use panic_probe as _;
use smidgen_application::{Heard, blink, listen, spotter};

static HEARD: Heard = Heard::new();

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let mut board = board::start().await;
    let mut spotter = defmt::unwrap!(spotter());
    let react = async {
        loop {
            let heard = HEARD.wait().await;
            // Your application: this is what is done with a class.
            defmt::info!("class {}", heard.class);
            blink(&mut board.light, &mut Delay, heard.class + 1).await;
        }
    };
    let listening = listen(&mut spotter, &mut board.samples, &HEARD);
    if let Either::First(error) = select(listening, react).await {
        defmt::panic!("the model does not run: {}", error);
    }
}
