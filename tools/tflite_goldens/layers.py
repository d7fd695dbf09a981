"""The operators' tensors and options with sensible defaults, for int8 and f32 alike."""

import numpy as np

from .net import Net, Operator, per_channel, per_tensor, schema

ACTIVATIONS = {
    name: getattr(schema.ActivationFunctionType, name) for name in ["NONE", "RELU", "RELU_N1_TO_1", "RELU6"]
}
PADDINGS = {"SAME": schema.Padding.SAME, "VALID": schema.Padding.VALID}


def options(kind, **fields):
    """An options table of the schema with some fields set."""
    made = getattr(schema, f"{kind}OptionsT")()
    for name, value in fields.items():
        assert hasattr(made, name), (kind, name)
        setattr(made, name, value)
    return made


def windows(extent, kernel, stride, padding, dilation=1):
    """The number of places of a window along one axis."""
    span = extent if padding == "SAME" else extent - (kernel - 1) * dilation
    return -(-span // stride)


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


class Layers:
    """A network under construction whose activations are int8 (`i8`) or f32."""

    def __init__(self, kind, rng, net=None):
        self.kind, self.rng, self.net = kind, rng, net or Net()
        self.int8 = kind == "i8"
        self.dtype = np.int8 if self.int8 else np.float32

    # Tensors

    def quantization(self, scale=None, zero_point=None):
        """What is not given is chosen at random."""
        if not self.int8:
            return None
        scale = 0.01 + 0.09 * self.rng.random() if scale is None else scale
        zero_point = self.rng.integers(-128, 128) if zero_point is None else zero_point
        return per_tensor(np.float32(scale), zero_point)

    def input(self, *shape, scale=None, zero_point=None):
        return self.net.input(shape, self.dtype, self.quantization(scale, zero_point))

    def result(self, shape, scale=None, zero_point=None, like=None, dtype=None):
        """A tensor that an operator writes; `like` a tensor: with its quantization."""
        quantization = like.quantization if like is not None else self.quantization(scale, zero_point)
        return self.net.tensor(shape, dtype or self.dtype, quantization)

    def values(self, shape, quantization=None, spread=1.0):
        """A constant activation."""
        if not self.int8:
            return self.net.constant((self.rng.standard_normal(shape) * spread).astype(np.float32))
        return self.net.constant(self.rng.integers(-128, 128, shape).astype(np.int8), quantization)

    def integers(self, values, dtype=np.int32):
        return self.net.constant(np.array(values, dtype))

    def weights(self, shape, taps, axis=0, channels=True):
        """A filter; `channels`: one scale for each slice along `axis`, else one for all."""
        if not self.int8:
            return self.net.constant((self.rng.standard_normal(shape) / np.sqrt(taps)).astype(np.float32))
        data = self.rng.integers(-127, 128, shape).astype(np.int8)
        # Results are about as large as the inputs, so that whole networks stay in range.
        scales = ((0.4 + 1.2 * self.rng.random(shape[axis] if channels else 1)) / (73 * np.sqrt(taps))).astype(np.float32)
        return self.net.constant(data, per_channel(scales, axis) if channels else per_tensor(scales[0]))

    def bias(self, x, weights, count):
        if not self.int8:
            return self.net.constant(self.rng.standard_normal(count).astype(np.float32))
        scales = np.float32(x.scale) * np.array(weights.quantization.scale, np.float32)
        data = self.rng.integers(-3000, 3000, count).astype(np.int32)
        return self.net.constant(data, per_channel(scales, 0) if len(scales) > 1 else per_tensor(scales[0]))

    def weighted_scale(self, x, weights, taps):
        """A scale that the results of a weighted sum over `taps` inputs fill without clipping much."""
        if not self.int8:
            return None
        return np.sqrt(taps) * 73 * x.scale * 73 * np.mean(weights.quantization.scale) * 2.5 / 127

    # Operators with weights

    def conv_2d(self, x, channels, kernel, stride=1, padding="SAME", dilation=1, groups=1, activation="NONE", bias=True, per_channel=True,
                scale=None, zero_point=None):
        (k_y, k_x), (s_y, s_x), (d_y, d_x) = pair(kernel), pair(stride), pair(dilation)
        n, h, w, c = x.shape
        taps = k_y * k_x * c // groups
        weights = self.weights((channels, k_y, k_x, c // groups), taps, 0, per_channel)
        shape = (n, windows(h, k_y, s_y, padding, d_y), windows(w, k_x, s_x, padding, d_x), channels)
        y = self.result(shape, scale or self.weighted_scale(x, weights, taps), zero_point)
        chosen = options("Conv2D", padding=PADDINGS[padding], strideH=s_y, strideW=s_x, dilationHFactor=d_y, dilationWFactor=d_x,
                         fusedActivationFunction=ACTIVATIONS[activation])
        inputs = [x, weights] + ([self.bias(x, weights, channels)] if bias else [])
        return self.net.op(Operator.CONV_2D, inputs, y, chosen, version=3)

    def depthwise_conv_2d(self, x, multiplier, kernel, stride=1, padding="SAME", dilation=1, activation="NONE", per_channel=True, bias=True,
                          scale=None, zero_point=None):
        (k_y, k_x), (s_y, s_x), (d_y, d_x) = pair(kernel), pair(stride), pair(dilation)
        n, h, w, c = x.shape
        weights = self.weights((1, k_y, k_x, c * multiplier), k_y * k_x, 3, per_channel)
        shape = (n, windows(h, k_y, s_y, padding, d_y), windows(w, k_x, s_x, padding, d_x), c * multiplier)
        y = self.result(shape, scale or self.weighted_scale(x, weights, k_y * k_x), zero_point)
        chosen = options("DepthwiseConv2D", padding=PADDINGS[padding], strideH=s_y, strideW=s_x, depthMultiplier=multiplier,
                         dilationHFactor=d_y, dilationWFactor=d_x, fusedActivationFunction=ACTIVATIONS[activation])
        inputs = [x, weights] + ([self.bias(x, weights, c * multiplier)] if bias else [])
        return self.net.op(Operator.DEPTHWISE_CONV_2D, inputs, y, chosen, version=3)

    def fully_connected(self, x, units, activation="NONE", bias=True, per_channel=False, keep=False, width=None, scale=None,
                        zero_point=None):
        width = width or x.shape[-1]
        weights = self.weights((units, width), width, 0, per_channel)
        rows = x.shape[:-1] if keep else (int(np.prod(x.shape)) // width,)
        y = self.result((*rows, units), scale or self.weighted_scale(x, weights, width), zero_point)
        chosen = options("FullyConnected", fusedActivationFunction=ACTIVATIONS[activation], keepNumDims=keep)
        inputs = [x, weights, self.bias(x, weights, units) if bias else None]
        return self.net.op(Operator.FULLY_CONNECTED, inputs, y, chosen, version=4)

    def transpose_conv(self, x, channels, kernel, stride, padding="SAME", bias=True, per_channel=True, activation="NONE", size=None, scale=None,
                       zero_point=None):
        (k_y, k_x), (s_y, s_x) = pair(kernel), pair(stride)
        n, h, w, c = x.shape
        taps = -(-k_y // s_y) * -(-k_x // s_x) * c
        weights = self.weights((channels, k_y, k_x, c), taps, 0, per_channel)
        if size is None:
            size = (h * s_y, w * s_x) if padding == "SAME" else ((h - 1) * s_y + k_y, (w - 1) * s_x + k_x)
        y = self.result((n, *size, channels), scale or self.weighted_scale(x, weights, taps), zero_point)
        chosen = options("TransposeConv", padding=PADDINGS[padding], strideH=s_y, strideW=s_x, fusedActivationFunction=ACTIVATIONS[activation])
        inputs = [self.integers(y.shape), weights, x] + ([self.bias(x, weights, channels)] if bias else [])
        return self.net.op(Operator.TRANSPOSE_CONV, inputs, y, chosen, version=4 if activation != "NONE" else 3)

    # Operators without

    def pool(self, code, x, kernel, stride, padding="SAME", activation="NONE"):
        (k_y, k_x), (s_y, s_x) = pair(kernel), pair(stride)
        n, h, w, c = x.shape
        y = self.result((n, windows(h, k_y, s_y, padding), windows(w, k_x, s_x, padding), c), like=x)
        chosen = options("Pool2D", padding=PADDINGS[padding], strideH=s_y, strideW=s_x, filterHeight=k_y, filterWidth=k_x,
                         fusedActivationFunction=ACTIVATIONS[activation])
        return self.net.op(code, [x], y, chosen, version=2)

    def max_pool_2d(self, *arguments, **named):
        return self.pool(Operator.MAX_POOL_2D, *arguments, **named)

    def average_pool_2d(self, *arguments, **named):
        return self.pool(Operator.AVERAGE_POOL_2D, *arguments, **named)

    def unary(self, code, x, chosen=None, like=None, scale=None, zero_point=None, version=2):
        return self.net.op(code, [x], self.result(x.shape, scale, zero_point, like), chosen, version)

    def binary(self, name, a, b, activation="NONE", like=None, scale=None, zero_point=None):
        """ADD, SUB, MUL with a fused activation; MAXIMUM, MINIMUM."""
        shape = np.broadcast_shapes(a.shape, b.shape)
        if name in ("MAXIMUM", "MINIMUM"):
            chosen = options("MaximumMinimum")
        else:
            chosen = options(name.capitalize(), fusedActivationFunction=ACTIVATIONS[activation])
        return self.net.op(getattr(Operator, name), [a, b], self.result(shape, scale, zero_point, like), chosen, version=2)

    def reduce(self, name, x, axes, keep, like=None, scale=None, zero_point=None):
        axes = [axis % len(x.shape) for axis in axes]
        shape = [1 if axis in axes else extent for axis, extent in enumerate(x.shape) if keep or axis not in axes]
        y = self.result(shape, scale, zero_point, like)
        return self.net.op(getattr(Operator, name), [x, self.integers(axes)], y, options("Reducer", keepDims=keep), version=2)

    def reshape(self, x, *shape):
        y = self.result(shape, like=x)
        return self.net.op(Operator.RESHAPE, [x, self.integers(shape)], y, options("Reshape", newShape=list(shape)))

    def concatenation(self, parts, axis, activation="NONE"):
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        chosen = options("Concatenation", axis=axis, fusedActivationFunction=ACTIVATIONS[activation])
        return self.net.op(Operator.CONCATENATION, parts, self.result(shape, like=parts[0]), chosen, version=2)

    def pad(self, x, paddings, value=None, mirror=None):
        """`value`: PADV2's; `mirror`: REFLECT or SYMMETRIC; else PAD."""
        shape = [before + extent + after for extent, (before, after) in zip(x.shape, paddings)]
        y, amounts = self.result(shape, like=x), self.integers(paddings)
        if mirror is not None:
            return self.net.op(Operator.MIRROR_PAD, [x, amounts], y, options("MirrorPad", mode=getattr(schema.MirrorPadMode, mirror)), version=2)
        if value is not None:
            constant = self.net.constant(np.array([value], self.dtype), x.quantization)
            return self.net.op(Operator.PADV2, [x, amounts, constant], y, options("PadV2"), version=2)
        return self.net.op(Operator.PAD, [x, amounts], y, options("Pad"), version=2)

    def softmax(self, x, beta=1.0):
        y = self.result(x.shape, 1 / 256, -128)
        return self.net.op(Operator.SOFTMAX, [x], y, options("Softmax", beta=beta), version=2)

    def resize(self, name, x, height, width, align=False, half=False):
        kind = {"RESIZE_BILINEAR": "ResizeBilinear", "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighbor"}[name]
        y = self.result((x.shape[0], height, width, x.shape[3]), like=x)
        chosen = options(kind, alignCorners=align, halfPixelCenters=half)
        return self.net.op(getattr(Operator, name), [x, self.integers([height, width])], y, chosen, version=3)
