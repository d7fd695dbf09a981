use super::*;

fn output(network: Network) -> [u32; 4] {
    let graph = network.build().unwrap();
    graph.tensor(graph.outputs[0]).shape.0
}

fn message(network: Network) -> String {
    network.build().unwrap_err().to_string()
}

#[test]
fn shapes_follow() {
    let input = || Network::new("n", [28, 28, 3]);
    assert_eq!(output(input().conv_2d(8, 3).stride(2)), [1, 14, 14, 8]);
    assert_eq!(output(input().conv_2d(8, 3).valid()), [1, 26, 26, 8]);
    assert_eq!(output(input().conv_2d(8, [10, 4]).stride([2, 1])), [1, 14, 28, 8]);
    assert_eq!(output(input().conv_2d(8, 3).valid().dilation(2)), [1, 24, 24, 8]);
    assert_eq!(output(input().depthwise_conv_2d(3).channel_multiplier(2)), [1, 28, 28, 6]);
    assert_eq!(output(input().max_pool_2d(3)), [1, 9, 9, 3]);
    assert_eq!(output(input().average_pool_2d(2).stride(1)), [1, 27, 27, 3]);
    assert_eq!(output(input().global_average_pool_2d().fully_connected(5)), [1, 1, 1, 5]);
    assert_eq!(output(input().flatten()), [1, 1, 1, 2352]);
    assert_eq!(output(input().conv_2d(6, 1).conv_2d(8, 3).groups(2)), [1, 28, 28, 8]);
    assert_eq!(output(input().conv_2d_transpose(8, 3).stride(2)), [1, 56, 56, 8]);
    assert_eq!(output(input().conv_2d_transpose(8, 3).valid().stride(2)), [1, 57, 57, 8]);
    assert_eq!(output(input().conv_2d_transpose(8, 2).valid().stride([1, 3])), [1, 29, 84, 8]);
    let padding = Padding::Explicit { top: 1, bottom: 2, left: 0, right: 1 };
    assert_eq!(output(input().conv_2d_transpose(8, 4).padding(padding)), [1, 28, 30, 8]);
    assert_eq!(output(input().conv_2d(8, 3).padding(padding)), [1, 29, 27, 8]);
}

#[test]
fn blocks_have_the_shapes_of_their_layers() {
    let input = || Network::new("n", [8, 6, 8]);
    assert_eq!(output(input().residual(8)), [1, 8, 6, 8]);
    assert_eq!(output(input().residual(8).stride([2, 1])), [1, 4, 6, 8]);
    assert_eq!(output(input().bottleneck(16).stride(2)), [1, 4, 3, 16]);
    assert_eq!(output(input().pre_activation(12)), [1, 8, 6, 12]);
    assert_eq!(output(input().inverted_residual(4, 6).stride(2)), [1, 4, 3, 4]);
    assert_eq!(output(input().shuffle_unit(12, 1).stride(2)), [1, 4, 3, 12]);
    assert_eq!(output(input().fire(2, 5)), [1, 8, 6, 10]);
    assert_eq!(output(input().squeeze_excite(2)), [1, 8, 6, 8]);
    assert_eq!(output(input().maxout(4)), [1, 8, 6, 2]);
    assert_eq!(output(input().channel_shuffle(2)), [1, 8, 6, 8]);
    assert_eq!(output(input().group_norm(2).layer_norm().instance_norm()), [1, 8, 6, 8]);
    assert_eq!(output(input().crop(1, 2, 0, 3)), [1, 5, 3, 8]);
}

#[test]
fn mistakes_in_blocks_are_named_with_their_layers() {
    let input = || Network::new("net", [4, 5, 8]);
    assert_eq!(
        message(input().shuffle_unit(12, 1)),
        "net: layer shuffle_unit_1: its add_1: the second input has shape [1, 4, 5, 8], expected [1, 4, 5, 12]"
    );
    assert_eq!(
        message(input().bottleneck(6)),
        "net: layer bottleneck_1: the number of filters is 6, expected a multiple of 4"
    );
    assert_eq!(
        message(input().channel_shuffle(3)),
        "net: layer channel_shuffle_1: the number of channels is 8, expected a multiple of the groups"
    );
    assert_eq!(
        message(input().group_norm(0)),
        "net: layer group_norm_1: the number of channels is 8, expected a multiple of the groups"
    );
    assert_eq!(
        message(input().fire(2, 2).stride(2)),
        "net: layer fire_1: stride does not apply to it; it modifies convolutions, pools and blocks of them"
    );
    assert_eq!(
        message(input().crop(2, 2, 0, 0)),
        "net: layer slice_1: what is cut off is 4, expected less than the height and the width"
    );
    // A block's taps are its own.
    assert!(message(input().residual(8).add("in")).contains("there is no tap \"in\""));
}

#[test]
fn a_shuffle_takes_one_channel_of_each_group_in_turn() {
    let graph = Network::new("n", [1, 1, 6]).channel_shuffle(2).build().unwrap();
    let mut run = crate::compile::calibrate::GraphRun::new(&graph).unwrap();
    run.activation_mut::<f32>(graph.inputs[0]).copy_from_slice(&[0.0, 1.0, 2.0, 10.0, 11.0, 12.0]);
    run.run();
    assert_eq!(run.activation::<f32>(graph.outputs[0]), [0.0, 10.0, 1.0, 11.0, 2.0, 12.0]);
}

#[test]
fn a_bias_is_left_out_before_a_batch_norm() {
    let names = |network: Network| {
        let graph = network.build().unwrap();
        graph.tensors.into_iter().map(|tensor| tensor.name).collect::<Vec<_>>()
    };
    let input = || Network::new("n", [4, 4, 1]);
    let bias = "conv_2d_1/bias".to_owned();
    assert!(names(input().conv_2d(2, 1).relu()).contains(&bias));
    assert!(!names(input().conv_2d(2, 1).no_bias().relu()).contains(&bias));
    assert!(!names(input().conv_2d(2, 1).batch_norm()).contains(&bias));
    assert!(names(input().conv_2d(2, 1).with_bias().batch_norm()).contains(&bias));
}

#[test]
fn mistakes_are_named_with_their_numbers() {
    let input = || Network::new("net", [4, 5, 2]);
    assert_eq!(
        message(input().conv_2d(2, 1).conv_2d(2, 7).valid()),
        "net: layer conv_2d_2: a window of 7x7 does not fit the input of 4x5 (height x width) even once; use a smaller kernel or dilation, or pad"
    );
    assert_eq!(
        message(input().fully_connected(3)),
        "net: layer fully_connected_1: the input has shape [1, 4, 5, 2], expected a vector [1, 1, 1, C]; put flatten() or global_average_pool_2d() before it"
    );
    assert_eq!(
        message(input().tap("a").conv_2d(3, 1).add("a")),
        "net: layer add_1: the second input has shape [1, 4, 5, 2], expected [1, 4, 5, 3]"
    );
    assert_eq!(
        message(input().conv_2d(6, 1).groups(3)),
        "net: layer conv_2d_1: the number of groups is 3, expected a divisor of the input's channels"
    );
    assert_eq!(
        message(input().conv_2d(5, 1).groups(2)),
        "net: layer conv_2d_1: the number of output channels is 5, expected a multiple of the groups of input channels"
    );
    assert_eq!(
        message(input().relu().stride(2)),
        "net: layer relu_1: stride does not apply to it; it modifies convolutions, pools and blocks of them"
    );
    assert_eq!(
        message(input().tap("a").add("b")),
        "net: layer add_1: there is no tap \"b\" before it; the taps are a"
    );
    assert_eq!(
        message(input().reshape([3, 3, 3])),
        "net: layer reshape_1: [1, 4, 5, 2] has 40 elements, [1, 3, 3, 3] has 27"
    );
    assert_eq!(
        message(input().conv_2d(2, 3).stride(0)),
        "net: layer conv_2d_1: the window over the height is 0, expected positive kernel, stride and dilation"
    );
    assert_eq!(
        message(Network::new("net", [4, 4, 1]).stride(2).relu()),
        "net: layer input: stride stands before the first layer; it modifies convolutions, pools and blocks of them"
    );
    assert_eq!(message(input()), "net: the network has no layers");
}

#[test]
fn zeros_are_refused_wherever_they_stand() {
    let input = || Network::new("net", [4, 4, 2]);
    for network in [
        Network::new("net", [0, 4, 2]).relu(),
        input().conv_2d(0, 3),
        input().conv_2d(2, 0),
        input().conv_2d(2, 3).stride(0),
        input().conv_2d(2, 3).dilation(0),
        input().conv_2d(2, 3).groups(0),
        input().conv_2d_transpose(2, 3).stride(0),
        input().conv_2d_transpose(2, 0),
        input().conv_2d_transpose(0, 3),
        input().depthwise_conv_2d(3).channel_multiplier(0),
        input().max_pool_2d(0),
        input().reshape([0, 4, 2]),
        input().flatten().fully_connected(0),
    ] {
        let message = message(network);
        assert!(message.contains('0'), "{message}");
    }
}
