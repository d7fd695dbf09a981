//! The safe boundaries of the kernels for Armv6-M and Armv7-M, and what these kernels are told.
//!
//! The kernels of both are told the same and promise the same, so that what has to hold before one of them is called is checked in one place for both.
#![allow(unsafe_code)]

#[cfg(any(arm_v6m, arm_v7m))]
pub(super) mod blocks;
#[cfg(any(arm_v6m, arm_v7m))]
pub(super) mod fours;
#[cfg(any(arm_v6m, arm_v7m))]
pub(super) mod rows;
pub(super) mod taps;
