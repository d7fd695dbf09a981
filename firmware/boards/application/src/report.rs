//! What is done with what is heard.

use core::fmt::Write as _;

use embedded_hal::digital::OutputPin;
use embedded_hal_async::delay::DelayNs;
use embedded_io_async::Write;
use smidgen::frontend::Detection;

use crate::light::{Light, blink};

/// The line that is written for an event: the class, its label and how sure it is in percent.
pub fn line(heard: Detection, label: Option<&str>) -> heapless::String<80> {
    let mut line = heapless::String::new();
    let percent = (heard.probability * 100.0) as u32;
    // A label that is too long is left out.
    let labelled = label.is_some_and(|label| write!(line, "heard {label} ({percent} %)\r\n").is_ok());
    if !labelled {
        line.clear();
        write!(line, "heard class {} ({percent} %)\r\n", heard.class).ok();
    }
    line
}

/// Writes a line, logs it, and blinks: once for class 0, twice for class 1 and so on. A line that cannot be written is lost.
pub async fn report<P: OutputPin, D: DelayNs, W: Write>(
    heard: Detection,
    label: Option<&str>,
    light: &mut Light<P>,
    delay: &mut D,
    serial: &mut W,
) {
    let line = line(heard, label);
    #[cfg(feature = "defmt")]
    defmt::info!("{}", line.trim_end());
    serial.write_all(line.as_bytes()).await.ok();
    blink(light, delay, heard.class + 1).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_label_if_there_is_one_that_fits() {
        let heard = Detection { class: 7, probability: 0.875 };
        assert_eq!(line(heard, Some("seven")), "heard seven (87 %)\r\n");
        assert_eq!(line(heard, None), "heard class 7 (87 %)\r\n");
        assert_eq!(line(heard, Some(&"long".repeat(20))), "heard class 7 (87 %)\r\n");
    }
}
