//! What every kernel on packed weights is told.

use super::requantize::{FOLDED_WORDS, Folded};
use crate::geometry::Window;
use crate::memory::InOut;

/// A layer on packed weights, for one sample. A fully connected layer has the window of one tap, and a sample of one pixel.
#[derive(Clone, Copy, Debug)]
pub struct PackedLayer<'a> {
    /// The window.
    pub window: &'a Window,
    /// Height, width and channels of the input.
    pub size: [usize; 3],
    /// Height, width and channels of the output.
    pub out_size: [usize; 3],
    /// What a tap in the padding reads: the input's zero point.
    pub padding: i8,
    /// Zero point, least and greatest of the output. A layout that has a [`Folded`] of each channel has the zero point there, too; its kernels leave the clamp to
    /// who calls them.
    pub range: [i32; 3],
    /// The constants, in the order of the layout.
    pub stream: &'a [i32],
}

impl PackedLayer<'_> {
    /// Weights of an output channel that reads all channels of the input.
    pub(super) fn weights(&self) -> usize {
        let [.., in_c] = self.size;
        self.window.y.kernel * self.window.x.kernel * in_c
    }

    /// Whether the output's zero point is -128, so that nothing is ever negative before it is added.
    pub(super) fn relu(&self) -> bool {
        let [zero_point, ..] = self.range;
        zero_point == i32::from(i8::MIN)
    }
}

/// Computes one sample in scratch memory that is as long as the layout says. The input and the output may lie over each other as far as the operator allows.
///
/// Does nothing more where a slice is too short.
pub type PackedKernel = fn(&PackedLayer<'_>, &mut InOut<'_>, &mut [u8]);

/// What the packing of a layout knows of an output channel. Most layouts have its requantization [`Folded`].
#[derive(Clone, Copy, Debug)]
pub struct PackedChannel<'a, Scale = Folded> {
    /// Its weights, in the order `[K_h, K_w, C_in]`.
    pub weights: &'a [i8],
    /// Its bias, with the input's zero point folded in.
    pub bias: i32,
    /// Its requantization.
    pub scale: Scale,
}

impl PackedChannel<'_> {
    /// A channel that is not there: zeros everywhere.
    pub(super) const NONE: Self =
        Self { weights: &[], bias: 0, scale: Folded::from_words([0; FOLDED_WORDS]) };
}
