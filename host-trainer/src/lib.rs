//! Trains, quantizes and compiles small networks for the smidgen runtime.

#![forbid(unsafe_code)]

pub mod buffer;
pub mod compile;
pub mod data;
pub mod device;
pub mod evaluate;
pub mod graph;
pub mod pipeline;
pub mod recipe;
pub mod train;
