//! Writing f32 numbers as people wrote them.

use serde::Serializer;

/// Serializes an f32 as the shortest decimal that gives it back: 0.1, and not the 0.10000000149011612 that it is as an f64.
///
/// # Errors
/// The serializer's.
pub(crate) fn shortest<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(value.to_string().parse().unwrap_or(f64::from(*value)))
}
