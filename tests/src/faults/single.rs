//! A sample with the packed operators whose streams `check` reads.

use smidgen::geometry::Window;
use smidgen::kernels::int8::{Folded, PackedChannel, eights, fours, rows, sixteens, taps, vector_pairs};
use smidgen::quantization::Multiplier;
use smidgen::{ElementType, EntryKind, Operator, Space};

use super::Parts;
use super::sample::{Builder, window};

/// A convolution, a depthwise one over it, and a fully connected layer, in the layouts for Cortex-M0 and M3, then fully connected layers, a depthwise one and a convolution in those for Cortex-M55.
pub(super) fn packed_single() -> Parts {
    let mut b = Builder::new("packed_single");
    let clamp = [-120, 120];
    let attributes = [window(1, 1).as_slice(), &clamp].concat();
    let weights = |count: usize| -> Vec<i8> { (0..count).map(|i| (i * 37 % 200) as u8 as i8).collect() };
    let scale = |zero_point: i32| {
        let multiplier = Multiplier { multiplier: 1 << 30, shift: -6 };
        Folded::new(multiplier, zero_point, 1 << 23).expect("it is exact")
    };

    let input = b.i8([1, 5, 4, 2], 0.05, 3);
    let conv = b.i8([1, 5, 4, 3], 0.1, -128);
    let words = rows::channel_words(18);
    let mut stream = vec![0; 3 * words];
    for (stream, weights) in stream.chunks_mut(words).zip(weights(3 * 18).chunks(18)) {
        rows::pack(weights, 100, scale(-128), stream).expect("it fits 24 bits");
    }
    let stream = b.constant_i32([1, 1, 3, words as u32], &stream);
    let scratch = b.words(rows::scratch_words(18, false) as u32);
    b.step(Operator::Conv2dRowsI8, &attributes, &[input, stream], &[conv, scratch]);

    let words = taps::channel_words(9);
    let mut stream = vec![0; 3 * words];
    for (stream, weights) in stream.chunks_mut(words).zip(weights(3 * 9).chunks(9)) {
        taps::pack(weights.iter().copied(), -50, scale(-128), stream).expect("it fits 24 bits");
    }
    let stream = b.constant_i32([1, 1, 3, words as u32], &stream);
    let scratch = b.operand(Space::Arena, ElementType::I8, [1, 1, 1, 3 * 6 * 3]);
    let depthwise = b.i8([1, 5, 4, 3], 0.1, -128);
    b.step(Operator::DepthwiseConv2dTapsI8, &attributes, &[conv, stream], &[depthwise, scratch]);

    let flat = b.i8([1, 1, 1, 60], 0.1, -128);
    b.step(Operator::Reshape, &[], &[depthwise], &[flat]);
    let output = b.i8([1, 1, 1, 3], 0.1, 5);
    let mut stream = vec![0; fours::four_words(60)];
    let all = weights(3 * 60);
    let channel =
        |index: usize| Some(PackedChannel { weights: all.chunks(60).nth(index)?, bias: 7, scale: scale(5) });
    fours::pack(std::array::from_fn(channel), &mut stream).expect("it fits 24 bits");
    let stream = b.constant_i32([1, 1, 1, stream.len() as u32], &stream);
    b.step(Operator::FullyConnectedFoursI8, &clamp, &[flat, stream], &[output]);

    let last = b.i8([1, 1, 1, 9], 0.1, -128);
    let words = eights::eight_words(3).expect("it is short");
    let mut stream = vec![0; 2 * words];
    let (all, multiplier) = (weights(9 * 3), Multiplier { multiplier: 1 << 30, shift: -6 });
    for (eight, stream) in stream.chunks_mut(words).enumerate() {
        let channel = |index: usize| {
            Some(PackedChannel { weights: all.chunks(3).nth(index)?, bias: -9, scale: multiplier })
        };
        let channels = std::array::from_fn(|index| channel(eights::CHANNELS * eight + index));
        eights::pack(channels, stream).expect("no shift is to the left");
    }
    let stream = b.constant_i32([1, 1, 2, words as u32], &stream);
    b.step(Operator::FullyConnectedEightsI8, &clamp, &[output, stream], &[last]);

    let image = b.i8([1, 3, 3, 1], 0.1, -128);
    b.step(Operator::Reshape, &[], &[last], &[image]);
    let mut stream = vec![0; sixteens::sixteen_words(9).expect("it is short")];
    let lane = |_| Some(PackedChannel { weights: &all[..9], bias: 4, scale: multiplier });
    sixteens::pack(std::array::from_fn(lane), &mut stream).expect("no weight is -128");
    let stream = b.constant_i32([1, 1, 1, stream.len() as u32], &stream);
    let same = window(1, 1);
    let around = Window::read(&same).expect("it is a window").0;
    let scratch = b.words(sixteens::scratch_words(&around, 3, 1).expect("it is short") as u32);
    let (attributes, depthwise) = ([same.as_slice(), &clamp].concat(), b.i8([1, 3, 3, 1], 0.1, -128));
    b.step(Operator::DepthwiseConv2dSixteensI8, &attributes, &[image, stream], &[depthwise, scratch]);

    let (conv, end) = (b.i8([1, 3, 3, 1], 0.1, -128), b.i8([1, 3, 3, 2], 0.1, -128));
    for (operator, attributes, [from, to], weights) in [
        (Operator::Conv2dVectorPairsI8, attributes.as_slice(), [depthwise, conv], &all[..9]),
        (Operator::FullyConnectedVectorPairsI8, &clamp, [conv, end], &all[..1]),
    ] {
        let mut stream = vec![0; vector_pairs::four_words(weights.len()).expect("it is short")];
        let channel = PackedChannel { weights, bias: -3, scale: multiplier };
        vector_pairs::pack([Some(channel); 4], &mut stream).expect("no shift is to the left");
        let stream = b.constant_i32([1, 1, 1, stream.len() as u32], &stream);
        let scratch = b.words(vector_pairs::scratch_words(weights.len()).expect("it is short") as u32);
        b.step(operator, attributes, &[from, stream], &[to, scratch]);
    }
    b.entry(EntryKind::Infer, &[input], &[end]);
    b.finish()
}
