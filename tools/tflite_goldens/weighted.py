"""Convolutions, fully connected layers, pools, softmax."""

from .cases import both, float32, int8
from .net import Operator
from .layers import options


def one(shape, layer, **quantization):
    """A network of one operator: `layer(layers, input)`."""

    def build(net):
        net.net.finish(layer(net, net.input(*shape, **quantization)))

    return build


def conv(shape, *arguments, source=None, **named):
    return one(shape, lambda net, x: net.conv_2d(x, *arguments, **named), **(source or {}))


def depthwise(shape, *arguments, source=None, **named):
    return one(shape, lambda net, x: net.depthwise_conv_2d(x, *arguments, **named), **(source or {}))


def dense(shape, *arguments, source=None, **named):
    return one(shape, lambda net, x: net.fully_connected(x, *arguments, **named), **(source or {}))


def transposed(shape, *arguments, source=None, **named):
    return one(shape, lambda net, x: net.transpose_conv(x, *arguments, **named), **(source or {}))


LOW, HIGH = {"zero_point": -128}, {"zero_point": 127}


def log_softmax(net):
    x = net.input(3, 11, scale=0.08, zero_point=-17)
    net.net.finish(net.unary(Operator.LOG_SOFTMAX, x, options("LogSoftmax"), scale=16 / 256, zero_point=127))


def cases():
    made = []
    made += both("conv_2d_same_even_stride", conv((1, 8, 6, 3), 4, 3, stride=2, activation="RELU6", source=LOW, zero_point=-128))
    made += both("conv_2d_valid_odd", conv((1, 9, 7, 2), 5, (5, 3), padding="VALID", per_channel=False, source=HIGH, zero_point=127))
    made += both("conv_2d_dilation", conv((1, 9, 10, 4), 3, 3, dilation=(2, 3), activation="RELU"))
    made += both("conv_2d_dilation_valid", conv((1, 11, 9, 1), 2, (3, 2), stride=(2, 1), dilation=(3, 4), padding="VALID"))
    made += both("conv_2d_groups", conv((1, 5, 6, 6), 4, 3, groups=2, stride=(1, 2)))
    made += both("conv_2d_groups_pointwise", conv((1, 3, 4, 9), 6, 1, groups=3, padding="VALID"))
    made += both("conv_2d_pointwise_stride", conv((1, 7, 5, 16), 19, 1, stride=(2, 3), source=LOW, zero_point=-3, activation="RELU"))
    made += both("conv_2d_no_bias", conv((1, 4, 5, 3), 7, (2, 4), bias=False))
    made += both("conv_2d_window_larger_than_input", conv((1, 3, 2, 2), 3, (7, 6), stride=2))
    made += both("conv_2d_first_layer", conv((1, 21, 10, 1), 8, (10, 4), stride=2, activation="RELU_N1_TO_1", scale=0.02))
    made += both("conv_2d_wide", conv((1, 2, 2, 200), 3, (2, 1), padding="VALID", scale=0.9))
    made += int8("conv_2d_multiplier_above_one", conv((1, 4, 5, 1), 3, 1, source={"scale": 0.1, "zero_point": 3}, scale=0.0007))
    made += int8("conv_2d_tiny_multiplier", conv((1, 3, 3, 64), 3, 3, scale=1.5))
    made += both("conv_2d_one_dimension", conv((1, 1, 17, 5), 6, (1, 4), stride=(1, 3)))

    made += both("depthwise_conv_2d_same_even_stride", depthwise((1, 6, 8, 5), 1, 3, stride=2, activation="RELU6", source=LOW))
    made += both("depthwise_conv_2d_multiplier", depthwise((1, 5, 4, 3), 4, (3, 2), stride=(1, 2), zero_point=127))
    made += both("depthwise_conv_2d_dilation", depthwise((1, 9, 8, 6), 1, 3, dilation=(2, 3), source=HIGH, activation="RELU"))
    made += both("depthwise_conv_2d_valid", depthwise((1, 8, 7, 8), 1, 5, padding="VALID", per_channel=False, zero_point=-128))
    made += both("depthwise_conv_2d_one_input_channel", depthwise((1, 12, 6, 1), 8, (10, 4), stride=2, activation="RELU"))
    made += both("depthwise_conv_2d_global", depthwise((1, 4, 6, 3), 1, (4, 6), padding="VALID", bias=False))

    made += both("fully_connected_relu", dense((1, 20), 9, activation="RELU", source=LOW))
    made += both("fully_connected_no_bias", dense((1, 33), 5, bias=False, source=HIGH, zero_point=-128))
    made += both("fully_connected_rows", dense((3, 10), 4, activation="RELU6"))
    made += both("fully_connected_keep_dimensions", dense((1, 4, 3, 6), 5, keep=True))
    made += both("fully_connected_flattens", dense((1, 2, 3, 4), 6, width=24, activation="RELU_N1_TO_1", scale=0.02))
    made += int8("fully_connected_per_channel", dense((2, 17), 7, per_channel=True))

    for kind in ("max", "average"):
        for name, window in [("same", ((3, 2), (2, 3), "SAME")), ("valid", ((2, 5), (1, 2), "VALID")), ("global", ((7, 10), 1, "VALID"))]:
            layer = lambda net, x, kind=kind, window=window: getattr(net, f"{kind}_pool_2d")(x, *window)
            made += both(f"{kind}_pool_2d_{name}", one((1, 7, 10, 3), layer))
    pools = lambda net, x: net.max_pool_2d(net.average_pool_2d(x, 2, 2, activation="RELU6"), (3, 2), 1, activation="RELU_N1_TO_1")
    made += both("pool_2d_activations", one((1, 7, 9, 2), pools, scale=0.01, zero_point=-20))

    for name, shape in [("vector", (1, 10)), ("rows", (5, 3)), ("pixels", (1, 2, 3, 7))]:
        made += both(f"softmax_{name}", one(shape, lambda net, x: net.softmax(x), scale=0.11))
    made += both("softmax_beta", one((2, 6), lambda net, x: net.softmax(x, beta=0.35), scale=0.4))
    made += int8("softmax_long", one((1, 511), lambda net, x: net.softmax(x), scale=0.02))
    made += int8("softmax_large_scale", one((2, 9), lambda net, x: net.softmax(x), scale=1.7, zero_point=-128))
    made += both("log_softmax", log_softmax)

    made += both("transpose_conv_same", transposed((1, 3, 4, 5), 3, 3, 2))
    made += both("transpose_conv_valid", transposed((1, 4, 3, 2), 4, (2, 3), (2, 1), padding="VALID", source=LOW, zero_point=127))
    made += both("transpose_conv_same_odd_size", transposed((1, 3, 3, 4), 2, 4, 2, size=(5, 6), source=HIGH, bias=False))
    made += both("transpose_conv_gaps", transposed((1, 3, 2, 3), 2, 2, 3, padding="VALID"))
    made += float32("transpose_conv_relu6", transposed((1, 2, 5, 3), 3, 2, 2, activation="RELU6"))
    made += int8("transpose_conv_per_tensor", transposed((1, 2, 5, 3), 3, 3, 1, per_channel=False))
    return made
