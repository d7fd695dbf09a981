//! The int8 kernels against 64-bit and 128-bit arithmetic, on as many random cases as one has patience for.
//!
//! A case is one output element. Inputs, weights, zero points, shifts and multipliers are extreme more often than not: all inputs or all weights at the ends of int8,
//! zero points at both ends, the greatest and the least shift that a kernel takes, now and then the longest sums that its bounds allow.
//!
//! `cargo run --release -p smidgen-tests --example random_cases -- 100000000` goes through 10⁸ cases of each kernel; a test goes through some thousands.

mod convolution;
mod elementwise;
mod pool;
mod reference;
mod softmax;

pub use reference::Random;

/// Outputs that were expected, and those that a kernel gave.
#[derive(Debug)]
pub struct Outputs {
    /// By the reference.
    pub expected: Vec<i8>,
    /// By the kernel.
    pub found: Vec<i8>,
    /// What was computed, to find it again.
    pub what: String,
}

/// Makes a random problem and solves it twice. `None` for one that the kernel's layout refuses.
pub type Problem = fn(&mut Random) -> Option<Outputs>;

/// The kernels by name.
pub const KERNELS: &[(&str, Problem)] = &[
    ("conv_2d_i8", convolution::plain),
    ("conv_2d_pairs_i8", convolution::pairs),
    ("conv_2d_rows_i8", convolution::rows_of_weights),
    ("conv_2d_vector_pairs_i8", convolution::vector_pairs),
    ("fully_connected_i8", convolution::fully_connected),
    ("fully_connected_pairs_i8", convolution::fully_connected_pairs),
    ("fully_connected_double_pairs_i8", convolution::fully_connected_double_pairs),
    ("fully_connected_fours_i8", convolution::fully_connected_fours),
    ("fully_connected_eights_i8", convolution::fully_connected_eights),
    ("fully_connected_vector_pairs_i8", convolution::fully_connected_vector_pairs),
    ("depthwise_conv_2d_i8", convolution::depthwise),
    ("depthwise_conv_2d_quads_i8", convolution::depthwise_quads),
    ("depthwise_conv_2d_taps_i8", convolution::depthwise_taps),
    ("depthwise_conv_2d_sixteens_i8", convolution::depthwise_sixteens),
    ("average_pool_2d_i8", pool::average),
    ("max_pool_2d_i8", pool::max),
    ("add_i8", elementwise::add),
    ("sub_i8", elementwise::sub),
    ("mul_i8", elementwise::mul),
    ("weighted_sum_i8", elementwise::weighted_sum),
    ("softmax_i8", softmax::softmax),
];

/// What came of the cases of a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Outputs that were compared.
    pub cases: u64,
    /// Those that differed.
    pub different: u64,
    /// Those that were -128, and 127.
    pub saturated: [u64; 2],
    /// Problems that the kernel's layout refused, and all.
    pub refused: [u64; 2],
    /// The first problem with a difference.
    pub first: Option<String>,
}

/// Solves problems until at least `cases` outputs have been compared.
pub fn run(problem: Problem, cases: u64, seed: u64) -> Tally {
    let mut random = Random::new(seed);
    let mut tally = Tally::default();
    while tally.cases < cases {
        let [refused, all] = &mut tally.refused;
        *all += 1;
        let Some(Outputs { expected, found, what }) = problem(&mut random) else {
            *refused += 1;
            continue;
        };
        assert_eq!(expected.len(), found.len(), "{what}");
        let different = expected.iter().zip(&found).filter(|(expected, found)| expected != found).count();
        if different > 0 && tally.first.is_none() {
            tally.first = Some(what);
        }
        tally.different += different as u64;
        tally.cases += found.len() as u64;
        for (count, end) in tally.saturated.iter_mut().zip([-128, 127]) {
            *count += expected.iter().filter(|&&value| value == end).count() as u64;
        }
    }
    tally
}
