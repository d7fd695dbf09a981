//! Functions of elements and of a few numbers of their channels.

use crate::kernels::activation::Activation;

/// A function of the elements of `[pixels, channels]` and of `T` numbers of their channels.
pub(crate) struct PerChannel<'a, F: Fn(usize) -> [f32; T], const T: usize> {
    pub(crate) activation: Activation,
    pub(crate) channels: usize,
    /// The numbers of a channel.
    pub(crate) table: F,
    /// What the function is of, as long as `output`: those that are not there are read from the place of the output.
    pub(crate) inputs: [Option<&'a [f32]>; 2],
    pub(crate) output: &'a mut [f32],
}
