//! smidgen
#![no_std]
