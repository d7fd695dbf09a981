//! Trains, quantizes and compiles small networks for the smidgen runtime.
