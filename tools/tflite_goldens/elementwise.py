"""Element-wise operators: two inputs with broadcasting, functions of one input, conversions of types."""

import numpy as np

from .cases import both, float32, int8, mixed
from .layers import options
from .net import TYPES, Operator, per_tensor


def binary(name, left, right, activation="NONE", constant=None, scale=None, zero_points=(None, None, None), same=False):
    """Two inputs; `constant`: which of them is one ("left", "right"). `same`: one quantization for all."""

    def build(net):
        shapes, tensors, like = {"left": left, "right": right}, [], None
        for (side, shape), zero_point in zip(shapes.items(), zero_points):
            near = net.rng.integers(-40, 40) if zero_point is None else zero_point
            quantization = like.quantization if like else net.quantization(0.02 + 0.02 * net.rng.random(), near)
            if side == constant:
                tensors.append(net.values(shape, quantization=quantization))
            else:
                tensors.append(net.net.input(shape, net.dtype, quantization))
            like = tensors[0] if same else None
        net.net.finish(net.binary(name, *tensors, activation, like, scale, zero_points[2]))

    return build


def unary(code, shape, chosen=None, like=False, source=None, result=None, version=2):
    def build(net):
        x = net.input(*shape, **(source or {}))
        net.net.finish(net.unary(code, x, chosen, x if like else None, version=version, **(result or {})))

    return build


def prelu(shape, alpha_shape, source=None, result=None):
    def build(net):
        x = net.input(*shape, **(source or {}))
        alpha = net.values(alpha_shape, spread=0.3, quantization=net.quantization(0.006, 11))
        y = net.result(shape, **(result or {}))
        net.net.finish(net.net.op(Operator.PRELU, [x, alpha], y))

    return build


def convert(code, source, target, shape=(1, 3, 5), chosen=None, quantizations=(None, None)):
    def build(net):
        x = net.net.input(shape, source, quantizations[0])
        y = net.net.tensor(shape, target, quantizations[1])
        net.net.finish(net.net.op(code, [x], y, chosen, version=2))

    return build


def cast(source, target):
    chosen = options("Cast", inDataType=TYPES[np.dtype(source)], outDataType=TYPES[np.dtype(target)])
    return convert(Operator.CAST, source, target, chosen=chosen)


def cases():
    made = []
    made += both("add", binary("ADD", (1, 3, 5, 4), (1, 3, 5, 4), zero_points=(-128, 127, 5), scale=0.08))
    made += both("add_relu6", binary("ADD", (1, 7), (1, 7), "RELU6", scale=0.05, zero_points=(None, None, -100)))
    made += both("add_channel_constant", binary("ADD", (1, 3, 2, 5), (5,), constant="right", scale=0.09))
    made += both("add_scalar", binary("ADD", (1, 4, 3), (), constant="right", scale=0.09))
    made += both("add_constant_left_relu", binary("ADD", (1, 1, 6), (1, 4, 6), "RELU", constant="left", scale=0.09))
    made += both("add_row_and_column", binary("ADD", (1, 3, 1, 2), (1, 1, 4, 2), scale=0.09))
    made += both("sub", binary("SUB", (1, 2, 4, 3), (1, 2, 4, 3), zero_points=(127, -128, -4), scale=0.08))
    made += both("sub_scalar_from", binary("SUB", (1, 4, 3), (1, 1, 1), constant="left", activation="RELU", scale=0.09))
    made += both("sub_pixels", binary("SUB", (1, 3, 3, 1), (1, 3, 3, 5), "RELU_N1_TO_1", scale=0.04))
    made += both("mul", binary("MUL", (1, 2, 3, 4), (1, 2, 3, 4), zero_points=(-128, 127, 7), scale=0.2))
    made += both("mul_channels", binary("MUL", (1, 4, 3, 6), (1, 1, 1, 6), "RELU6", scale=0.2, zero_points=(0, -30, -128)))
    made += both("mul_scalar", binary("MUL", (1, 9), (1,), constant="right", scale=0.15))
    made += both("mul_relu", binary("MUL", (3, 5), (3, 1), "RELU", scale=0.15))
    for name in ("MAXIMUM", "MINIMUM"):
        made += both(name.lower(), binary(name, (1, 2, 5, 3), (1, 2, 5, 3), same=True))
        made += both(f"{name.lower()}_broadcast", binary(name, (1, 3, 2, 4), (1, 1, 1, 4), same=True, constant="right"))

    wide = {"scale": 0.06, "zero_point": -9}
    made += both("relu", unary(Operator.RELU, (1, 3, 7), source=wide, result={"scale": 0.033, "zero_point": -128}))
    made += both("relu6", unary(Operator.RELU6, (1, 3, 7), like=True, source=wide))
    made += both("relu_n1_to_1", unary(Operator.RELU_N1_TO_1, (1, 3, 7), like=True, source=wide, version=1))
    leaky = lambda alpha: options("LeakyRelu", alpha=alpha)
    made += both("leaky_relu", unary(Operator.LEAKY_RELU, (1, 4, 2, 5), leaky(0.1), source=wide, result={"scale": 0.04, "zero_point": 20}))
    made += both("leaky_relu_steep", unary(Operator.LEAKY_RELU, (1, 11), leaky(1.7), source=wide, result={"scale": 0.09, "zero_point": -20}))
    made += both("prelu", prelu((1, 3, 4, 5), (1, 1, 5), source=wide, result={"scale": 0.05, "zero_point": 3}))
    made += both("prelu_everywhere", prelu((1, 2, 3, 2), (2, 3, 2), source={"zero_point": 127}, result={"scale": 0.05, "zero_point": -128}))
    made += both("elu", unary(Operator.ELU, (1, 2, 3, 4), source=wide, result={"scale": 0.05, "zero_point": -100}))
    made += both("hard_swish", unary(Operator.HARD_SWISH, (1, 2, 3, 4), source=wide, result={"scale": 0.05, "zero_point": -110}))
    made += both("hard_swish_low", unary(Operator.HARD_SWISH, (1, 64), source={"scale": 0.02, "zero_point": 127}, result={"scale": 0.003, "zero_point": 127}))
    for name, approximate in [("gelu", False), ("gelu_approximate", True)]:
        made += both(name, unary(Operator.GELU, (1, 3, 9), options("Gelu", approximate=approximate), source=wide, result={"scale": 0.04, "zero_point": -100}))
    made += both("abs", unary(Operator.ABS, (1, 2, 9), options("Abs"), source=wide, result={"scale": 0.04, "zero_point": -128}))
    made += float32("neg", unary(Operator.NEG, (1, 2, 3, 3), options("Neg")))
    made += both("exp", unary(Operator.EXP, (1, 2, 9), options("Exp"), source={"scale": 0.03, "zero_point": 30}, result={"scale": 0.06, "zero_point": -128}))
    made += float32("sqrt", unary(Operator.SQRT, (1, 2, 9)), span=(0.0, 9.0))
    made += float32("rsqrt", unary(Operator.RSQRT, (1, 2, 9)), span=(0.01, 9.0))
    made += int8("rsqrt", unary(Operator.RSQRT, (1, 2, 9), source={"scale": 0.03, "zero_point": -128}, result={"scale": 0.03, "zero_point": -120}))
    made += both("logistic", unary(Operator.LOGISTIC, (1, 3, 2, 7), source=wide, result={"scale": 1 / 256, "zero_point": -128}), span=(-9.0, 9.0))
    made += int8("logistic_fine", unary(Operator.LOGISTIC, (1, 64), source={"scale": 0.011, "zero_point": 127}, result={"scale": 1 / 256, "zero_point": -128}))
    made += both("tanh", unary(Operator.TANH, (1, 3, 2, 7), source=wide, result={"scale": 1 / 128, "zero_point": 0}), span=(-6.0, 6.0))
    made += int8("tanh_fine", unary(Operator.TANH, (1, 64), source={"scale": 0.011, "zero_point": -128}, result={"scale": 1 / 128, "zero_point": 0}))

    i8, u8, f32 = per_tensor(0.031, -7), per_tensor(0.055, 129), None
    made += mixed("quantize_f32", convert(Operator.QUANTIZE, np.float32, np.int8, quantizations=(f32, i8)), span=(-4.5, 4.5))
    made += mixed("quantize_f32_to_u8", convert(Operator.QUANTIZE, np.float32, np.uint8, quantizations=(f32, u8)), span=(-8.0, 8.0))
    made += mixed("quantize_i8_finer", convert(Operator.QUANTIZE, np.int8, np.int8, quantizations=(per_tensor(0.055, 127), i8)))
    made += mixed("quantize_i8_coarser", convert(Operator.QUANTIZE, np.int8, np.int8, quantizations=(i8, per_tensor(0.2, -128))))
    made += mixed("quantize_u8", convert(Operator.QUANTIZE, np.uint8, np.int8, quantizations=(u8, i8)))
    made += mixed("quantize_u8_same_scale", convert(Operator.QUANTIZE, np.uint8, np.int8, quantizations=(per_tensor(0.02, 128), per_tensor(0.02, 0))))
    made += mixed("quantize_i8_to_u8", convert(Operator.QUANTIZE, np.int8, np.uint8, quantizations=(per_tensor(1 / 256, -128), per_tensor(1 / 256, 0))))
    made += mixed("dequantize", convert(Operator.DEQUANTIZE, np.int8, np.float32, quantizations=(i8, f32)))
    made += mixed("dequantize_u8", convert(Operator.DEQUANTIZE, np.uint8, np.float32, quantizations=(u8, f32)))
    for source, target in [(np.int8, np.float32), (np.uint8, np.float32), (np.float32, np.int8), (np.int8, np.int32), (np.uint8, np.int8), (np.int32, np.float32)]:
        made += mixed(f"cast_{np.dtype(source)}_to_{np.dtype(target)}", cast(source, target), span=(-100.0, 100.0))
    return made
