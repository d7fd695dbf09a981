//! The command line as a user meets it: the built program, its files, its exit code and what it prints.

mod anomalies;
mod bad_data;
mod bad_models;
mod bad_recipes;
mod boards;
mod devices;
mod learning;
mod masks;
mod recipes;
mod results;
mod samples;
mod series;
mod support;
mod traces;
mod training;
