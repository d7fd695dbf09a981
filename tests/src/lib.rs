//! Whole-system tests of smidgen; see the `[[test]]` targets.
