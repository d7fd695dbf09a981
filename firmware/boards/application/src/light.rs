//! A light that blinks.

use embedded_hal::digital::{OutputPin, PinState};
use embedded_hal_async::delay::DelayNs;

/// A light at a pin.
#[derive(Debug)]
pub struct Light<P> {
    pin: P,
    on: PinState,
}

impl<P: OutputPin> Light<P> {
    /// A light that is on while its pin is high.
    pub const fn active_high(pin: P) -> Self {
        Self { pin, on: PinState::High }
    }

    /// A light that is on while its pin is low.
    pub const fn active_low(pin: P) -> Self {
        Self { pin, on: PinState::Low }
    }

    /// Switches it on or off. A pin that fails stays as it is: there is nobody to tell.
    pub fn set(&mut self, on: bool) {
        let state = if on { self.on } else { !self.on };
        self.pin.set_state(state).ok();
    }
}

/// Blinks so many times, then waits a moment.
pub async fn blink<P: OutputPin, D: DelayNs>(light: &mut Light<P>, delay: &mut D, times: usize) {
    for _ in 0..times {
        light.set(true);
        delay.delay_ms(120).await;
        light.set(false);
        delay.delay_ms(180).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::RefCell;
    use core::convert::Infallible;

    struct Pin<'a>(&'a RefCell<Vec<PinState>>);

    impl embedded_hal::digital::ErrorType for Pin<'_> {
        type Error = Infallible;
    }

    impl OutputPin for Pin<'_> {
        fn set_low(&mut self) -> Result<(), Infallible> {
            self.0.borrow_mut().push(PinState::Low);
            Ok(())
        }
        fn set_high(&mut self) -> Result<(), Infallible> {
            self.0.borrow_mut().push(PinState::High);
            Ok(())
        }
    }

    struct Waits(u64);

    impl DelayNs for Waits {
        async fn delay_ns(&mut self, ns: u32) {
            self.0 += u64::from(ns);
        }
    }

    #[test]
    fn it_blinks_and_is_off_after_it() {
        let states = RefCell::new(Vec::new());
        let mut delay = Waits(0);
        embassy_futures::block_on(blink(&mut Light::active_low(Pin(&states)), &mut delay, 2));
        use PinState::{High, Low};
        assert_eq!(*states.borrow(), [Low, High, Low, High]);
        assert_eq!(delay.0, 600_000_000);
    }
}
