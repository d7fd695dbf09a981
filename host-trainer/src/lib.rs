//! Trains, quantizes and compiles small networks for the smidgen runtime.

#![forbid(unsafe_code)]

pub mod buffer;
pub mod compile;
pub mod cost;
pub mod data;
pub mod device;
pub mod evaluate;
pub mod graph;
pub mod inspect;
pub mod npy;
pub mod pipeline;
pub mod recipe;
pub mod report;
pub mod throughput;
pub mod train;
