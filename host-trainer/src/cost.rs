//! What a step costs, in multiply-accumulates.

use smidgen::{Operator, Shape, Step};

/// The multiply-accumulates of `step`: those of its convolution or matrix product, forward or backward, taps in the padding included, which is
/// how papers count them. 0 for every other operator.
///
/// A convolution of `[N, H_out, W_out, C_out]` outputs has `N * H_out * W_out * C_out * K_h * K_w * C_in / groups`, a depthwise one
/// `N * H_out * W_out * C_out * K_h * K_w`, a transposed one of `[N, H, W, C_in]` inputs `N * H * W * C_in * K_h * K_w * C_out`, a fully
/// connected layer `N * H * W * C_in * C_out`; each of their two gradients has as many.
pub fn macs(step: Step<'_>) -> u64 {
    let read = |index: usize| step.reads.get(index).map(|operand| operand.shape);
    let write = || step.writes.first().map(|operand| operand.shape);
    // The input channels of a filter, which has `C_out` innermost in f32 and outermost in int8.
    let depth = |filter: Option<Shape>, index: usize| filter.map(|Shape(filter)| u64::from(filter[index]));
    let taps = || match *step.attributes {
        [height, width, ..] => extent(height).saturating_mul(extent(width)),
        _ => 0,
    };
    // The outputs of the layer, the channels that a tap of each of them reads, and the taps.
    let (outputs, inputs_per_tap, taps) = match Operator::from_code(step.operator) {
        Some(Operator::Conv2d) => (write(), depth(read(1), 2), taps()),
        Some(Operator::Conv2dI8) => (write(), depth(read(1), 3), taps()),
        Some(Operator::Conv2dPairsI8 | Operator::Conv2dRowsI8 | Operator::Conv2dVectorPairsI8) => (write(), depth(read(0), 3), taps()),
        Some(Operator::Conv2dGradInput) => (read(0), depth(read(1), 2), taps()),
        Some(Operator::Conv2dGradWeights) => (read(1), depth(write(), 2), taps()),
        Some(
            Operator::DepthwiseConv2d
            | Operator::DepthwiseConv2dI8
            | Operator::DepthwiseConv2dQuadsI8
            | Operator::DepthwiseConv2dSixteensI8
            | Operator::DepthwiseConv2dTapsI8,
        ) => (write(), Some(1), taps()),
        Some(Operator::DepthwiseConv2dGradInput) => (read(0), Some(1), taps()),
        Some(Operator::DepthwiseConv2dGradWeights) => (read(1), Some(1), taps()),
        Some(
            Operator::FullyConnected
            | Operator::FullyConnectedI8
            | Operator::FullyConnectedPairsI8
            | Operator::FullyConnectedDoublePairsI8
            | Operator::FullyConnectedFoursI8
            | Operator::FullyConnectedVectorPairsI8
            | Operator::FullyConnectedEightsI8
            // The layer of its gates is a step of its own.
            | Operator::Gru
            | Operator::GruI8,
        ) => (write(), read(0).map(channels), 1),
        Some(Operator::FullyConnectedGradInput) => (read(0), write().map(channels), 1),
        Some(Operator::FullyConnectedGradWeights) => (read(1), read(0).map(channels), 1),
        // Counted from the input: each element of it meets every tap and output channel.
        Some(Operator::TransposeConv | Operator::TransposeConvI8) => (read(0), write().map(channels), taps()),
        Some(Operator::TransposeConvGradInput) => (write(), read(0).map(channels), taps()),
        Some(Operator::TransposeConvGradWeights) => (read(0), read(1).map(channels), taps()),
        Some(Operator::Lstm | Operator::LstmI8) => return lstm(step),
        _ => return 0,
    };
    let outputs = outputs.and_then(Shape::elements).unwrap_or(0) as u64;
    outputs.saturating_mul(inputs_per_tap.unwrap_or(0)).saturating_mul(taps)
}

/// An LSTM's: `4 * units * (C_in + units)` for each step of time.
fn lstm(step: Step<'_>) -> u64 {
    let (Some(input), Some(output)) = (step.reads.first(), step.writes.first()) else { return 0 };
    let outputs = output.shape.elements().unwrap_or(0) as u64;
    outputs.saturating_mul(4).saturating_mul(channels(input.shape).saturating_add(channels(output.shape)))
}

fn channels(shape: Shape) -> u64 {
    let Shape([.., channels]) = shape;
    u64::from(channels)
}

fn extent(attribute: i32) -> u64 {
    u64::try_from(attribute).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use smidgen::EntryKind;

    use super::*;
    use crate::compile::{LowerOptions, compile_inference, fold_batch_norm, fuse_activation};
    use crate::graph::nets;

    #[test]
    fn the_networks_of_mlperf_tiny_cost_what_the_papers_say() {
        let total = |name: &str| {
            let graph = fuse_activation(fold_batch_norm(nets::by_name(name).unwrap().build().unwrap()));
            let program = compile_inference(&graph, &LowerOptions::default()).unwrap();
            program.steps_of(EntryKind::Infer).iter().map(|step| macs(step.step())).sum::<u64>()
        };
        // By hand: 14·14·8·9 + Σ over the separable layers of H·W·(9·C_in + C_in·C_out) + 32·10.
        let separable = 14 * 14 * (9 * 8 + 8 * 16) + 7 * 7 * (9 * 16 + 16 * 32) + 7 * 7 * (9 * 32 + 32 * 32);
        assert_eq!(total("mnist_ds_cnn"), 14 * 14 * 8 * 9 + separable + 32 * 10);
        // 2.66 million (Banbury et al., 2021, table 2 counts 2.7), and 264,192 weights used once each.
        assert_eq!(total("ds_cnn"), 25 * 5 * 64 * (40 + 4 * (9 + 64)) + 64 * 12);
        assert_eq!(total("autoencoder"), 640 * 128 * 2 + 128 * 128 * 6 + 128 * 8 * 2);
    }
}
