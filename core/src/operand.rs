//! What a step reads and writes: a typed tensor at a fixed place in one of the memory spaces.

use bytemuck::{AnyBitPattern, CheckedBitPattern, NoUninit};
use serde::Serialize;

/// The memory a tensor lives in.
///
/// The spaces differ in who owns them and in how long their contents last; `docs/memory.md` has the whole story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, CheckedBitPattern, NoUninit)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u16)]
pub enum Space {
    /// Read-only bytes of the model file, in place (flash on a device).
    Constant = 0,
    /// Trainable weights.
    Parameter = 1,
    /// What outlives a step of training and is shared by the batch: optimizer moments, running and batch statistics, the
    /// learning rate, sums of the loss.
    State = 2,
    /// Gradients of the parameters, summed over the batch.
    Gradient = 3,
    /// Tensors of one chunk of the batch that later phases read. There is one instance per chunk.
    Chunk = 4,
    /// Activations and scratch. Nothing in it outlives a phase.
    Arena = 5,
}

impl Space {
    /// All spaces, in the order of their codes.
    pub const ALL: [Self; 6] =
        [Self::Constant, Self::Parameter, Self::State, Self::Gradient, Self::Chunk, Self::Arena];
}

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, CheckedBitPattern, NoUninit)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u16)]
pub enum ElementType {
    /// Signed 8-bit integer, asymmetric (activations) or symmetric (weights) quantization.
    I8 = 0,
    /// Signed 32-bit integer: biases, accumulators, class labels.
    I32 = 1,
    /// IEEE 754 binary32.
    F32 = 2,
    /// Unsigned 8-bit integer: what a network takes or gives, to and from `I8`.
    U8 = 3,
    /// Signed 16-bit integer, symmetric: states of recurrent operators.
    I16 = 4,
}

impl ElementType {
    /// Bytes per element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 => 2,
            Self::I32 | Self::F32 => 4,
        }
    }
}

/// A tensor's shape, `[N, H, W, C]`. Lower ranks have leading ones: a bias of `C` elements is `[1, 1, 1, C]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, AnyBitPattern, NoUninit)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(transparent)]
pub struct Shape(pub [u32; 4]);

impl Shape {
    /// The shape `[1, 1, 1, channels]`.
    pub const fn vector(channels: u32) -> Self {
        Self([1, 1, 1, channels])
    }

    /// The number of elements, or `None` if it does not fit 31 bits.
    pub fn elements(self) -> Option<usize> {
        // Written out, which a compiler for size does not do: every view of every step begins here.
        let [n, h, w, c] = self.0;
        let product = n.checked_mul(h)?.checked_mul(w)?.checked_mul(c)?;
        if product > i32::MAX as u32 { None } else { usize::try_from(product).ok() }
    }

    /// The dimensions as `usize`: `let [n, h, w, c] = shape.dims();`.
    pub const fn dims(self) -> [usize; 4] {
        let [n, h, w, c] = self.0;
        [n as usize, h as usize, w as usize, c as usize]
    }

    /// Whether any dimension is zero.
    pub fn has_zero(self) -> bool {
        self.0.contains(&0)
    }
}

/// How integers stand for real numbers: `real = scale * (integer - zero_point)` (TensorFlow Lite's 8-bit
/// quantization specification).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, AnyBitPattern, NoUninit)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(C)]
pub struct Quantization {
    /// Real value of one integer step. Positive and finite.
    pub scale: f32,
    /// The integer that stands for 0.0, in -128..=127, or in 0..=255 for a `U8` tensor.
    pub zero_point: i32,
}

impl Quantization {
    /// No quantization: what an [`Operand`] has whose elements stand for themselves. It is not [valid](Self::is_valid).
    pub const NONE: Self = Self { scale: 0.0, zero_point: 0 };

    /// `quantization`, or [`NONE`](Self::NONE).
    pub fn or_none(quantization: Option<Self>) -> Self {
        quantization.unwrap_or(Self::NONE)
    }

    /// Whether there is none.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Itself, if there is one.
    pub fn some(self) -> Option<Self> {
        if self.is_none() { None } else { Some(self) }
    }

    /// Whether the scale is positive and finite and the zero point an int8.
    pub fn is_valid(self) -> bool {
        self.is_valid_for(ElementType::I8)
    }

    /// Whether the scale is positive and finite and the zero point an int8, or of a `U8` tensor a uint8.
    pub fn is_valid_for(self, element_type: ElementType) -> bool {
        let least = if element_type == ElementType::U8 { 0 } else { -128 };
        self.scale > 0.0 && self.scale.is_finite() && (least..=least + 255).contains(&self.zero_point)
    }
}

/// A tensor at a fixed place: space, byte offset, shape, element type and, for quantized activations, the quantization.
///
/// This is also how it stands in the model file, where it is read in place: 32 bytes, nothing between the fields.
#[derive(Clone, Copy, Debug, PartialEq, CheckedBitPattern, NoUninit)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(C)]
pub struct Operand {
    /// The memory space.
    pub space: Space,
    /// Type of the elements.
    pub element_type: ElementType,
    /// Byte offset in the space; a multiple of the element's size.
    pub offset: u32,
    /// Shape, `[N, H, W, C]`.
    pub shape: Shape,
    /// Per-tensor quantization, or [`Quantization::NONE`].
    pub quantization: Quantization,
}

impl Operand {
    /// No byte: what stands for an operand that is not to be looked at.
    pub(crate) const NOTHING: Self = Self {
        space: Space::Constant,
        element_type: ElementType::I8,
        offset: 0,
        shape: Shape([0; 4]),
        quantization: Quantization::NONE,
    };

    /// The length in bytes, or `None` if it does not fit.
    pub fn bytes(&self) -> Option<usize> {
        self.shape.elements()?.checked_mul(self.element_type.bytes())
    }

    /// First byte and byte past the last in its space, or `None` if they do not fit.
    pub fn range(&self) -> Option<(usize, usize)> {
        let start = usize::try_from(self.offset).ok()?;
        Some((start, start.checked_add(self.bytes()?)?))
    }

    /// Whether the two share at least one byte.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self.space == other.space, self.range(), other.range()) {
            (true, Some((a, a_end)), Some((b, b_end))) => a < b_end && b < a_end,
            _ => false,
        }
    }

    /// Itself, or [no byte](Self::NOTHING) if `write` lies in its place: to take views of both.
    pub(crate) fn beside<'a>(&'a self, write: &Self) -> &'a Self {
        if self.same_place(write) { &Self::NOTHING } else { self }
    }

    /// Whether the two are the same bytes.
    pub fn same_place(&self, other: &Self) -> bool {
        self.space == other.space && self.range() == other.range()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u32, channels: u32) -> Operand {
        Operand {
            space: Space::Arena,
            element_type: ElementType::F32,
            offset,
            shape: Shape::vector(channels),
            quantization: Quantization::NONE,
        }
    }

    #[test]
    fn elements_are_checked() {
        assert_eq!(Shape([2, 3, 4, 5]).elements(), Some(120));
        assert_eq!(Shape([65_536, 65_536, 1, 1]).elements(), None);
        assert_eq!(Shape([1, 1, 1, 0x8000_0000]).elements(), None);
    }

    #[test]
    fn overlap_is_by_bytes_and_space() {
        assert!(at(0, 2).overlaps(&at(4, 2)));
        assert!(!at(0, 2).overlaps(&at(8, 2)));
        let elsewhere = Operand { space: Space::Chunk, ..at(0, 2) };
        assert!(!at(0, 2).overlaps(&elsewhere));
    }
}
