//! Trains, quantizes and compiles small networks for the smidgen runtime.

#![forbid(unsafe_code)]

pub mod compile;
pub mod data;
pub mod device;
pub mod graph;
pub mod recipe;
pub mod train;
