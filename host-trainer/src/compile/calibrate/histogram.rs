//! A histogram of f32 values of any magnitude.

/// Mantissa bits that tell bins apart: a bin is at most 1/1024 of its values wide.
const MANTISSA_BITS: u32 = 10;
const PAGE: usize = 1 << MANTISSA_BITS;
/// One page for each sign and exponent.
const PAGES: usize = 1 << 9;

/// How often values occurred, in bins whose width is a fixed part of the value.
///
/// No range has to be known before; an outlier costs no resolution elsewhere. A bin holds the values that share sign, exponent and
/// the first ten bits of the mantissa. Counts do not depend on the order of the values.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    /// In the order of the values. A page is allocated when its first value comes.
    pages: Vec<Option<Box<[u64; PAGE]>>>,
    min: f32,
    max: f32,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { pages: vec![None; PAGES], min: f32::INFINITY, max: f32::NEG_INFINITY, count: 0 }
    }
}

/// Bits that are ordered as the values are.
fn to_ordered(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn from_ordered(ordered: u32) -> f32 {
    f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered })
}

impl Histogram {
    /// Counts a finite value. Both zeros are the same.
    pub(super) fn add(&mut self, value: f32) {
        let value = value + 0.0;
        (self.min, self.max) = (self.min.min(value), self.max.max(value));
        self.count += 1;
        let bin = (to_ordered(value) >> (23 - MANTISSA_BITS)) as usize;
        let page = self.pages[bin / PAGE].get_or_insert_with(|| Box::new([0; PAGE]));
        page[bin % PAGE] += 1;
    }

    /// The smallest and the greatest value, exactly; `None` if there are no values.
    pub(super) fn extremes(&self) -> Option<(f32, f32)> {
        (self.count > 0).then_some((self.min, self.max))
    }

    /// The number of values.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// The bins with values in them, in ascending order: smallest value that the bin may hold, greatest one, count.
    pub(super) fn bins(&self) -> impl DoubleEndedIterator<Item = Bin> + '_ {
        let pages =
            self.pages.iter().enumerate().filter_map(|(at, page)| page.as_ref().map(|page| (at, page)));
        pages.flat_map(move |(at, page)| {
            let filled = page.iter().enumerate().filter(|&(_, &count)| count > 0);
            filled.map(move |(bin, &count)| {
                let first = ((at * PAGE + bin) as u32) << (23 - MANTISSA_BITS);
                let last = first | ((1 << (23 - MANTISSA_BITS)) - 1);
                let low = from_ordered(first).max(self.min);
                Bin { low, high: from_ordered(last).min(self.max), count }
            })
        })
    }
}

/// A bin with values in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bin {
    /// No value in it is smaller.
    pub(super) low: f32,
    /// No value in it is greater.
    pub(super) high: f32,
    /// How many values.
    pub(super) count: u64,
}

impl Bin {
    /// The value that stands for all in the bin. Zero stands for itself.
    pub(super) fn centre(self) -> f64 {
        // The bins of the smallest magnitudes reach from zero up: what is in them is zero for all purposes.
        if self.low <= 0.0 && self.high >= 0.0 {
            0.0
        } else {
            f64::midpoint(f64::from(self.low), f64::from(self.high))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f32]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().for_each(|&value| histogram.add(value));
        histogram
    }

    #[test]
    fn every_value_is_in_its_bin_and_bins_are_in_order() {
        let values = [-3e38, -1.0, -0.999, -1e-40, -0.0, 0.0, 1e-45, 0.001, 1.0, 1.0001, 7.5, 3e38f32];
        let histogram = of(&values);
        let bins: Vec<Bin> = histogram.bins().collect();
        assert_eq!(bins.iter().map(|bin| bin.count).sum::<u64>(), values.len() as u64);
        assert!(bins.windows(2).all(|pair| pair[0].high < pair[1].low), "{bins:?}");
        for value in values {
            let bin = bins.iter().find(|bin| bin.low <= value && value <= bin.high).unwrap();
            assert!((bin.centre() - f64::from(value)).abs() <= f64::from(value.abs()) / 1024.0 + 1e-38);
        }
        assert_eq!(histogram.extremes(), Some((-3e38, 3e38)));
        assert_eq!(Histogram::default().extremes(), None);
    }

    #[test]
    fn zero_stands_for_zero() {
        let histogram = of(&[0.0, -0.0, 0.0]);
        let bins: Vec<Bin> = histogram.bins().collect();
        assert_eq!((bins.len(), bins[0].count, bins[0].centre()), (1, 3, 0.0));
    }
}
