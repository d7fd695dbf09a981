//! Sequences in samples: where time is, and where each step of each sequence stands.

use crate::operand::Shape;
use crate::ops::operands::flag;
use crate::step::StepError;

/// Which dimension is time, and whether the states go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Time is `H` and the sequences of a sample are `W`; else the other way around.
    pub time_major: bool,
    /// The states are zero at the beginning of every sample; else they are what the sample before left.
    pub from_zero: bool,
}

impl Order {
    /// The attributes of a step.
    pub const fn attributes(self) -> [i32; 2] {
        [self.time_major as i32, self.from_zero as i32]
    }

    /// Reads the attributes 0 and 1.
    pub(in crate::ops) fn read(attributes: &[i32]) -> Result<Self, StepError> {
        Ok(Self { time_major: flag(attributes, 0)?, from_zero: flag(attributes, 1)? })
    }

    /// The sequences of a sample of this shape.
    pub(in crate::ops) fn sequences(self, shape: Shape) -> Sequences {
        let [_, h, w, _] = shape.dims();
        if self.time_major {
            Sequences { steps: h, count: w, step_rows: w, sequence_rows: 1 }
        } else {
            Sequences { steps: w, count: h, step_rows: 1, sequence_rows: w }
        }
    }
}

/// Where the steps of a sample's sequences stand, in rows of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) struct Sequences {
    /// Steps of time.
    pub(in crate::ops) steps: usize,
    /// Sequences of a sample.
    pub(in crate::ops) count: usize,
    /// From one step to the next.
    pub(in crate::ops) step_rows: usize,
    /// From one sequence to the next.
    pub(in crate::ops) sequence_rows: usize,
}

impl Sequences {
    /// Rows of a sample.
    pub(in crate::ops) fn rows(self) -> usize {
        self.steps * self.count
    }

    pub(in crate::ops) fn row(self, sequence: usize, step: usize) -> usize {
        sequence * self.sequence_rows + step * self.step_rows
    }
}

/// Row `index` of a matrix with `columns` columns; empty if there is none.
pub(in crate::ops) fn row<T>(matrix: &[T], columns: usize, index: usize) -> &[T] {
    matrix.chunks_exact(columns.max(1)).nth(index).unwrap_or_default()
}

/// Row `index`, to write.
pub(in crate::ops) fn row_mut<T>(matrix: &mut [T], columns: usize, index: usize) -> &mut [T] {
    matrix.chunks_exact_mut(columns.max(1)).nth(index).unwrap_or_default()
}

/// What the tests of operators on sequences share.
#[cfg(test)]
pub(in crate::ops) mod cases {
    use std::vec;
    use std::vec::Vec;

    use super::Order;
    use crate::operand::Operand;
    use crate::ops::test_support::{Random, in_arena};

    /// Sizes of one case.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::ops) struct Sizes {
        pub order: Order,
        pub samples: usize,
        pub height: usize,
        pub width: usize,
        /// Channels of the input; a GRU's are its gates, so many for each unit.
        pub inputs: usize,
        pub units: usize,
    }

    impl Sizes {
        pub(in crate::ops) fn random(random: &mut Random, from_zero: bool) -> Self {
            let order = Order { time_major: random.integer(0, 1) == 1, from_zero };
            let [samples, height, width, inputs] = core::array::from_fn(|_| random.integer(1, 4));
            Self { order, samples, height, width, inputs, units: random.integer(1, 9) }
        }

        pub(in crate::ops) fn rows(&self) -> usize {
            self.samples * self.height * self.width
        }

        pub(in crate::ops) fn sequences(&self) -> usize {
            if self.order.time_major { self.width } else { self.height }
        }

        pub(in crate::ops) fn shape(&self, channels: usize) -> [usize; 4] {
            [self.samples, self.height, self.width, channels]
        }

        /// Rows of each sequence of each sample, in the order of time.
        pub(in crate::ops) fn sequence_rows(&self) -> Vec<Vec<usize>> {
            let mut all = vec![];
            for sample in 0..self.samples {
                for sequence in 0..self.sequences() {
                    let steps = if self.order.time_major { self.height } else { self.width };
                    let row = |step: usize| {
                        let (y, x) = if self.order.time_major { (step, sequence) } else { (sequence, step) };
                        (sample * self.height + y) * self.width + x
                    };
                    all.push((0..steps).map(row).collect());
                }
            }
            all
        }
    }

    /// Parts of an arena that a step's operands are, one after another.
    pub(in crate::ops) fn lay_out(shapes: &[[usize; 4]]) -> (Vec<Operand>, usize) {
        let mut next = 0;
        let operands = shapes.iter().map(|&shape| {
            let operand = in_arena(next, shape);
            next += shape.iter().product::<usize>();
            operand
        });
        (operands.collect(), next)
    }
}
