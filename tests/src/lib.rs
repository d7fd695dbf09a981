//! Whole-system tests of smidgen; see the `[[test]]` targets. What several of them and the fuzz targets share is here.

pub mod faults;
pub mod nor;
pub mod random_cases;
pub mod reach;
mod shared;

pub use shared::shared;
