"""Small whole networks, as people build them."""

import numpy as np

from .cases import both
from .layers import options
from .net import Operator, per_tensor
from .recurrent import lstm, stream, svdf, variables


def residual(net):
    """Two blocks of ResNet: one that keeps the shape, one with stride 2 and a pointwise shortcut."""
    x = net.conv_2d(net.input(1, 12, 12, 3), 4, 3, activation="RELU", zero_point=-128)
    y = net.conv_2d(net.conv_2d(x, 4, 3, activation="RELU", zero_point=-128), 4, 3, zero_point=3)
    x = net.binary("ADD", x, y, "RELU", scale=x.scale * 1.5 if net.int8 else None, zero_point=-128)
    y = net.conv_2d(net.conv_2d(x, 8, 3, stride=2, activation="RELU", zero_point=-128), 8, 3, zero_point=-7)
    shortcut = net.conv_2d(x, 8, 1, stride=2, zero_point=5)
    x = net.binary("ADD", shortcut, y, "RELU", scale=y.scale * 1.5 if net.int8 else None, zero_point=-128)
    x = net.average_pool_2d(x, 6, 6, "VALID")
    net.net.finish(net.softmax(net.fully_connected(net.reshape(x, 1, 8), 10, zero_point=9)))


def mobile(net):
    """MobileNet: even sizes halved with SAME padding, depthwise and pointwise."""
    x = net.conv_2d(net.input(1, 16, 16, 3), 6, 3, stride=2, activation="RELU6", scale=6 / 255, zero_point=-128)
    for stride, channels in [(1, 8), (2, 12), (2, 12)]:
        x = net.depthwise_conv_2d(x, 1, 3, stride=stride, activation="RELU6", scale=6 / 255, zero_point=-128)
        x = net.conv_2d(x, channels, 1, activation="RELU6", scale=6 / 255, zero_point=-128)
    x = net.reduce("MEAN", x, [1, 2], keep=False, like=x)
    net.net.finish(net.softmax(net.fully_connected(x, 5, zero_point=-4)))


def inverted_residual(net):
    """MobileNet 3: expand, hard swish, depthwise 5 x 5, squeeze and excite, project, add."""
    x = net.conv_2d(net.input(1, 9, 8, 3), 6, 3, stride=2, padding="SAME", scale=0.05, zero_point=-10)
    y = net.conv_2d(x, 12, 1, zero_point=0)
    y = net.unary(Operator.HARD_SWISH, y, scale=y.scale if net.int8 else None, zero_point=-110)
    y = net.depthwise_conv_2d(y, 1, 5, activation="RELU", zero_point=-128)
    gate = net.reduce("MEAN", y, [1, 2], keep=True, scale=0.7 * y.scale if net.int8 else None, zero_point=-128)
    gate = net.conv_2d(net.conv_2d(gate, 4, 1, activation="RELU", zero_point=-128), 12, 1, scale=0.05, zero_point=0)
    gate = net.unary(Operator.LOGISTIC, gate, scale=1 / 256, zero_point=-128)
    y = net.binary("MUL", y, gate, scale=y.scale if net.int8 else None, zero_point=-128)
    y = net.conv_2d(y, 6, 1, scale=0.05, zero_point=4)
    net.net.finish(net.binary("ADD", x, y, scale=0.07, zero_point=-3))


def u_net(net):
    """Down twice and up twice, once by resizing and once by a transposed convolution, with concatenation on each level."""
    x = net.input(1, 12, 16, 2, scale=0.03)
    first = net.conv_2d(x, 4, 3, activation="RELU", scale=0.02, zero_point=-128)
    second = net.conv_2d(net.max_pool_2d(first, 2, 2), 6, 3, activation="RELU", scale=0.02, zero_point=-128)
    bottom = net.conv_2d(net.max_pool_2d(second, 2, 2), 8, 3, activation="RELU", scale=0.02, zero_point=-128)
    up = net.resize("RESIZE_NEAREST_NEIGHBOR", bottom, 6, 8, half=True)
    joined = net.conv_2d(net.concatenation([up, second], 3), 6, 3, activation="RELU", scale=0.02, zero_point=-128)
    up = net.transpose_conv(joined, 4, 2, 2, scale=0.02, zero_point=-128, activation="NONE")
    joined = net.concatenation([up, first], 3)
    logits = net.conv_2d(joined, 1, 1, scale=0.05, zero_point=0)
    net.net.finish(net.unary(Operator.LOGISTIC, logits, scale=1 / 256, zero_point=-128))


def autoencoder(net):
    x = net.input(1, 40)
    for units, activation in [(16, "RELU"), (16, "RELU"), (4, "RELU"), (16, "RELU"), (40, "NONE")]:
        x = net.fully_connected(x, units, activation, zero_point=-128 if activation == "RELU" else 12)
    net.net.finish(x)


def lstm_classifier(net):
    """Two LSTMs and a softmax on the last step."""
    x = lstm(net, net.input(1, 10, 4, scale=0.02, zero_point=4), 8, hidden=(1 / 128, 1))
    x = lstm(net, x, 6, cell_power=-12)
    last = net.result((1, 6), like=x)
    steps = [net.integers(values) for values in ([0, -1, 0], [0, 0, 0], [1, 1, 1])]
    net.net.op(Operator.STRIDED_SLICE, [x, *steps], last, options("StridedSlice", beginMask=0b101, endMask=0b101, shrinkAxisMask=0b010), version=2)
    net.net.finish(net.softmax(net.fully_connected(last, 4, zero_point=0)))


def keyword_svdf(net):
    """The keyword spotter of TensorFlow Lite Micro's example, small: SVDF layers, a row per invocation."""
    x = svdf(net, net.input(1, 16, scale=0.03, zero_point=2), 8, 2, 6)
    x = svdf(net, net.fully_connected(x, 8, "RELU", zero_point=-128), 6, 1, 4)
    net.net.finish(net.softmax(net.fully_connected(x, 4, zero_point=0)))


def streaming(net):
    """A streaming wake word net: three new rows of features per invocation, the rows before them in resource variables; one probability as uint8."""
    x = net.input(1, 3, 10, scale=0.1, zero_point=-128)
    call = len(net.net.operators)
    x = net.net.op(Operator.EXPAND_DIMS, [x, net.integers([2])], net.result((1, 3, 1, 10), like=x), options("ExpandDims"))
    window, first = stream(net, x, 2, "first")
    x = net.conv_2d(window, 6, (5, 1), stride=(3, 1), padding="VALID", activation="RELU", zero_point=-128)
    window, second = stream(net, x, 4, "second")
    halves = [net.result((1, 5, 1, 3), like=x) for _ in range(2)]
    net.net.op(Operator.SPLIT, [net.integers(3), window], halves, options("Split", numSplits=2), version=2)
    scale = 0.03 if net.int8 else None
    left = net.depthwise_conv_2d(halves[0], 1, (5, 1), padding="VALID", scale=scale, zero_point=0)
    latest = net.result((1, 3, 1, 3), like=x)
    steps = [net.integers(values) for values in ([0, -3, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1])]
    net.net.op(Operator.STRIDED_SLICE, [halves[1], *steps], latest, options("StridedSlice", beginMask=0b1101, endMask=0b1111), version=2)
    right = net.depthwise_conv_2d(latest, 1, (3, 1), padding="VALID", scale=scale, zero_point=0)
    right = net.net.op(Operator.RESHAPE, [right, net.integers(left.shape)], net.net.tensor(left.shape, net.dtype, left.quantization), options("Reshape"))
    x = net.conv_2d(net.concatenation([left, right], 3), 6, 1, activation="RELU", zero_point=-128)
    window, third = stream(net, x, 3, "third")
    x = net.fully_connected(net.reshape(window, 1, 24), 1, scale=0.04, zero_point=10)
    y = net.unary(Operator.LOGISTIC, x, scale=1 / 256, zero_point=-128)
    if net.int8:
        y = net.net.op(Operator.QUANTIZE, [y], net.net.tensor(y.shape, np.uint8, per_tensor(1 / 256, 0)), version=2)
    variables(net, first, second, third)
    net.net.operators.insert(call, net.net.operators.pop())
    net.net.finish(y)


def two_inputs_two_outputs(net):
    """An image and a vector; class probabilities and an embedding."""
    image, vector = net.input(1, 6, 5, 2), net.input(1, 7)
    x = net.conv_2d(image, 3, 3, stride=2, activation="RELU", zero_point=-128)
    x = net.reshape(x, 1, 27)
    both_sides = [net.fully_connected(part, 4, "RELU", scale=0.1, zero_point=-128) for part in (x, vector)]
    embedding = net.concatenation(both_sides, -1)
    net.net.finish(net.softmax(net.fully_connected(embedding, 3, zero_point=0)), embedding)


def cases():
    made = []
    made += both("net_residual", residual)
    made += both("net_mobile", mobile)
    made += both("net_inverted_residual", inverted_residual)
    made += both("net_u_net", u_net)
    made += both("net_autoencoder", autoencoder)
    made += both("net_lstm_classifier", lstm_classifier)
    made += both("net_keyword_svdf", keyword_svdf, rows=8)
    made += both("net_streaming", streaming, rows=10)
    made += both("net_two_inputs_two_outputs", two_inputs_two_outputs)
    return made
