//! How far a reconstruction is from what it is of.

/// The score by which a network that gives its input back tells an anomaly: the mean over the elements of the squared difference between its input and its output, `sum of (x - y)^2 / n`,
/// added up in their order, so that it has the same bits on every target. 0 without elements.
///
/// Both are real numbers. Of int8 ones they are what [`dequantize_one`](crate::ops::quantize::dequantize_one) says; the trainer measures its threshold in the same way. A session computes over
/// its input: keep a copy of it.
///
/// ```
/// use smidgen::Quantization;
/// use smidgen::frontend::reconstruction_error;
/// use smidgen::ops::quantize::dequantize_one;
///
/// let (given, made) = ([10_i8, -20], [12_i8, -20]);
/// let quantization = Quantization { scale: 0.5, zero_point: -3 };
/// let real = |elements: [i8; 2]| elements.into_iter().map(move |element| dequantize_one(quantization, element));
/// // One of two elements is two steps of 0.5 away.
/// assert_eq!(reconstruction_error(real(given), real(made)), 0.5);
/// ```
pub fn reconstruction_error(
    given: impl IntoIterator<Item = f32>,
    made: impl IntoIterator<Item = f32>,
) -> f32 {
    let (mut sum, mut count) = (0.0_f32, 0_u32);
    for (given, made) in given.into_iter().zip(made) {
        let difference = given - made;
        sum += difference * difference;
        count = count.saturating_add(1);
    }
    if count == 0 { 0.0 } else { sum / count as f32 }
}
