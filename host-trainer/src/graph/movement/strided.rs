//! Where the elements of a block with any number of dimensions are.

use smidgen::Shape;
use smidgen::ops::movement::copy;

/// A block of elements in a tensor: element `index` is at `offset + sum(index * stride)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strided {
    /// Place of the first element.
    pub offset: i64,
    /// The block's dimensions.
    pub dims: Vec<usize>,
    /// From one index to the next along each.
    pub strides: Vec<i64>,
}

impl Strided {
    /// All elements of a tensor of these dimensions, in their order; `None` if there are none or more than 31 bits can count.
    pub fn whole(dims: &[usize]) -> Option<Self> {
        let mut strides = vec![0; dims.len()];
        let mut stride = 1i64;
        for (place, &dim) in strides.iter_mut().zip(dims).rev() {
            *place = stride;
            stride = stride.checked_mul(i64::try_from(dim).ok()?)?;
        }
        (1..=i64::from(i32::MAX)).contains(&stride).then(|| Self { offset: 0, dims: dims.to_vec(), strides })
    }

    /// `count` of the indices along `axis`, from `start` in steps of `step`. Whether they are there [`fits`](Self::fits) says.
    #[must_use]
    pub fn sliced(mut self, axis: usize, start: i64, step: i64, count: usize) -> Self {
        if let (Some(stride), Some(dim)) = (self.strides.get_mut(axis), self.dims.get_mut(axis)) {
            self.offset = self.offset.saturating_add(start.saturating_mul(*stride));
            (*stride, *dim) = (stride.saturating_mul(step), count);
        }
        self
    }

    /// Dimension `order[i]` as the `i`th; `order` has each once.
    #[must_use]
    pub fn permuted(mut self, order: &[usize]) -> Self {
        let (dims, strides) = (self.dims.clone(), self.strides.clone());
        self.dims = order.iter().map(|&axis| dims[axis]).collect();
        self.strides = order.iter().map(|&axis| strides[axis]).collect();
        self
    }

    /// How many elements it has.
    pub fn elements(&self) -> usize {
        self.dims.iter().fold(1usize, |product, &dim| product.saturating_mul(dim))
    }

    /// Whether it has elements and all of them are among the first `length`.
    pub fn fits(&self, length: usize) -> bool {
        let (mut low, mut high) = (self.offset, self.offset);
        for (&dim, &stride) in self.dims.iter().zip(&self.strides) {
            let Some(last) = dim.checked_sub(1).and_then(|last| i64::try_from(last).ok()) else {
                return false;
            };
            let extent = last.saturating_mul(stride);
            if extent < 0 { low = low.saturating_add(extent) } else { high = high.saturating_add(extent) }
        }
        low >= 0 && usize::try_from(high).is_ok_and(|high| high < length)
    }

    /// Whether no two of its elements are one: each stride passes all that the smaller ones reach. (Other blocks may be so as well.)
    pub fn is_injective(&self) -> bool {
        let mut axes: Vec<(u64, u64)> = self
            .strides
            .iter()
            .zip(&self.dims)
            .filter(|&(_, &dim)| dim > 1)
            .map(|(stride, &dim)| (stride.unsigned_abs(), dim as u64))
            .collect();
        axes.sort_unstable();
        let mut reach = 0u64;
        axes.into_iter().all(|(stride, dim)| {
            let passes = stride > reach;
            reach = reach.saturating_add(stride.saturating_mul(dim - 1));
            passes
        })
    }

    /// The blocks for each index along `axis`, without that dimension.
    pub(super) fn unrolled(&self, axis: usize) -> Vec<Self> {
        let at = |index: usize| {
            let mut one = self.clone().sliced(axis, index as i64, 1, 1);
            one.dims.remove(axis);
            one.strides.remove(axis);
            one
        };
        (0..self.dims[axis]).map(at).collect()
    }
}

/// Two blocks of the same dimensions in the fewest: see [`Transfer::new`](super::Transfer::new).
pub(super) fn joined(mut source: Strided, mut destination: Strided) -> (Strided, Strided) {
    let mut axes: Vec<(usize, i64, i64)> = source
        .dims
        .iter()
        .zip(source.strides.iter().zip(&destination.strides))
        .map(|(&dim, (&from, &to))| (dim, from, to))
        .filter(|&(dim, ..)| dim != 1)
        .collect();
    axes.sort_by_key(|&(_, _, to)| std::cmp::Reverse(to.unsigned_abs()));
    let mut fewest: Vec<(usize, i64, i64)> = Vec::new();
    for (dim, from, to) in axes {
        let length = dim as i64;
        match fewest.last_mut() {
            Some((outer, outer_from, outer_to))
                if *outer_from == from.saturating_mul(length) && *outer_to == to.saturating_mul(length) =>
            {
                (*outer, *outer_from, *outer_to) = (outer.saturating_mul(dim), from, to);
            }
            _ => fewest.push((dim, from, to)),
        }
    }
    source.dims = fewest.iter().map(|&(dim, ..)| dim).collect();
    destination.dims.clone_from(&source.dims);
    source.strides = fewest.iter().map(|&(_, from, _)| from).collect();
    destination.strides = fewest.iter().map(|&(_, _, to)| to).collect();
    (source, destination)
}

/// Two blocks of at most four dimensions as those of a step; `None` if a number does not fit 32 bits.
pub(super) fn block(source: &Strided, destination: &Strided) -> Option<copy::Params> {
    let missing = 4usize.checked_sub(source.dims.len())?;
    let mut dims = [1; 4];
    dims[missing..].copy_from_slice(&source.dims);
    let place = |block: &Strided| {
        let mut strides = [0; 4];
        for (place, &stride) in strides[missing..].iter_mut().zip(&block.strides) {
            *place = i32::try_from(stride).ok()?;
        }
        Some(copy::Place { offset: i32::try_from(block.offset).ok()?, strides })
    };
    Some(copy::Params { dims, source: place(source)?, destination: place(destination)? })
}

/// The shape of a tensor of any number of dimensions in a graph: aligned at its last dimension, what does not fit merged into the height. `None` if it
/// is empty or too large.
pub fn aligned(dims: &[usize]) -> Option<Shape> {
    Strided::whole(dims)?;
    let [mut h, mut w, mut c] = [1; 3];
    for (place, &dim) in dims.iter().rev().enumerate() {
        // No product is larger than the number of elements.
        match place {
            0 => c = dim as u32,
            1 => w = dim as u32,
            _ => h *= dim as u32,
        }
    }
    Some(Shape([1, h, w, c]))
}
