//! `.tflite` files: what is refused, and how; and round trips.

mod errors;
mod export;
mod networks;
