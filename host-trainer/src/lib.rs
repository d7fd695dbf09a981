//! Trains, quantizes and compiles small networks for the [`smidgen`] runtime, and runs them on emulated microcontrollers.
//!
//! Everything that is hard about a small network happens here, so that nothing is left to decide on the device: gradients, the order of the
//! steps, what may lie in whose place, every offset. What comes out is a model file. Training itself is such a program, too, and runs on the
//! same kernels as the device.
//!
//! ```no_run
//! use std::sync::atomic::AtomicBool;
//!
//! use smidgen_trainer::data;
//! use smidgen_trainer::device::{Device, Target};
//! use smidgen_trainer::evaluate::Interface;
//! use smidgen_trainer::pipeline::{Run, Training, quantize_trained, train};
//! use smidgen_trainer::recipe::Recipe;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (recipe, split) = (Recipe::load("digits")?, data::digits()?);
//! let stop = AtomicBool::new(false);
//! let run = Run { recipe: &recipe, split: &split, threads: 4, checkpoint: None, resume: false, stop: &stop };
//! let Training::Done(trained) = train(&run, &mut ())? else { return Ok(()) };
//! println!("{} of {} right in f32", trained.test.correct, split.test.len());
//!
//! let model = quantize_trained(&recipe, &split, &trained)?.file;
//! let inputs = Interface::of_file(&model)?.inputs(&split.test)?;
//! let here = Device::new(Target::Host).run(&model, &inputs)?;
//! let there = Device::new(Target::CortexM4).run(&model, &inputs)?;
//! assert_eq!(here.outputs, there.outputs, "the same bytes");
//! # Ok(())
//! # }
//! ```
//!
//! | to | see |
//! |---|---|
//! | describe a network | [`graph`] |
//! | say everything that decides a run | [`recipe`] |
//! | load, vary and order samples | [`data`] |
//! | train, and go from a recipe to a model file | [`train`], [`pipeline`] |
//! | let a finished network go on learning | [`personalize`] |
//! | turn a graph into steps over fixed memory, or into int8 | [`compile`] |
//! | run a model here or on an emulated device, and compare | [`device`], [`trace`] |
//! | measure and look into a model | [`evaluate`], [`inspect`], [`cost`], [`throughput`], [`report`] |
//! | say which operators there are | [`support`] |
//!
//! The binary `smidgen` is a command line over these modules, and nothing here knows it.

#![forbid(unsafe_code)]

// From data and a description to a model file.
pub mod compile;
pub mod data;
mod decimal;
pub mod graph;
mod nearest;
pub mod personalize;
pub mod pipeline;
pub mod recipe;
pub mod tflite;
pub mod train;

// What a model does, needs and costs.
pub mod cost;
pub mod device;
pub mod evaluate;
pub mod inspect;
pub mod int8;
pub mod layout_costs;
pub mod report;
pub mod support;
pub mod throughput;
pub mod trace;

// Bytes.
pub mod buffer;
pub mod npy;
pub mod ports;
