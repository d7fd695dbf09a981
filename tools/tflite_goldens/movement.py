"""Operators that move elements, and those that reduce or resample them."""

import numpy as np

from .cases import both, float32, int8, mixed
from .layers import options
from .net import Operator, schema
from .weighted import one


def concatenation(shapes, axis, activation="NONE"):
    def build(net):
        first = net.input(*shapes[0])
        others = [net.net.input(shape, net.dtype, first.quantization) for shape in shapes[1:]]
        net.net.finish(net.concatenation([first, *others], axis, activation))

    return build


def concatenation_of_constant(net):
    x = net.input(1, 2, 3, 4)
    net.net.finish(net.concatenation([net.values((1, 2, 3, 2), x.quantization), x, x], 3))


def parts(x, axis, sizes):
    shape = list(x.shape)
    for size in sizes:
        shape[axis] = size
        yield tuple(shape)


def split(shape, axis, count, named_axis=None):
    def build(net):
        x = net.input(*shape)
        made = [net.result(part, like=x) for part in parts(x, axis, [shape[axis] // count] * count)]
        chosen = options("Split", numSplits=count)
        net.net.op(Operator.SPLIT, [net.integers(axis if named_axis is None else named_axis), x], made, chosen, version=2)
        net.net.finish(*made)

    return build


def split_v(shape, axis, sizes):
    def build(net):
        x = net.input(*shape)
        made = [net.result(part, like=x) for part in parts(x, axis, sizes)]
        net.net.op(Operator.SPLIT_V, [x, net.integers(sizes), net.integers(axis)], made, options("SplitV", numSplits=len(sizes)), version=2)
        net.net.finish(*reversed(made))

    return build


def slice_of(shape, begin, size):
    def layer(net, x):
        y = net.result([extent - b if s == -1 else s for extent, b, s in zip(shape, begin, size)], like=x)
        return net.net.op(Operator.SLICE, [x, net.integers(begin), net.integers(size)], y, options("Slice"), version=2)

    return one(shape, layer)


def strided_slice(shape, index, **masks):
    """`index`: begin, end and stride of each axis."""

    def layer(net, x):
        begin, end, strides = zip(*index)
        bit = lambda name, axis: masks.get(name, 0) >> axis & 1
        extents = []
        for axis, (extent, (first, last, step)) in enumerate(zip(shape, index)):
            taken = len(range(extent)[slice(None if bit("beginMask", axis) else first, None if bit("endMask", axis) else last, step)])
            if not bit("shrinkAxisMask", axis):
                extents.append(taken)
        inputs = [x, net.integers(begin), net.integers(end), net.integers(strides)]
        return net.net.op(Operator.STRIDED_SLICE, inputs, net.result(extents, like=x), options("StridedSlice", **masks), version=2)

    return one(shape, layer)


def transpose(shape, order):
    def layer(net, x):
        y = net.result([shape[axis] for axis in order], like=x)
        return net.net.op(Operator.TRANSPOSE, [x, net.integers(order)], y, options("Transpose"), version=2)

    return one(shape, layer)


def pack(shape, count, axis):
    def build(net):
        first = net.input(*shape)
        others = [net.net.input(shape, net.dtype, first.quantization) for _ in range(count - 1)]
        place = axis % (len(shape) + 1)
        y = net.result([*shape[:place], count, *shape[place:]], like=first)
        net.net.finish(net.net.op(Operator.PACK, [first, *others], y, options("Pack", valuesCount=count, axis=axis), version=2))

    return build


def unpack(shape, axis):
    def build(net):
        x = net.input(*shape)
        place = axis % len(shape)
        made = [net.result(shape[:place] + shape[place + 1 :], like=x) for _ in range(shape[place])]
        net.net.op(Operator.UNPACK, [x], made, options("Unpack", num=shape[place], axis=axis), version=2)
        net.net.finish(*made)

    return build


def shapes_only(net):
    """Views of one tensor, one after the other."""
    x = net.input(1, 3, 1, 8)
    squeezed = net.net.op(Operator.SQUEEZE, [x], net.result((1, 3, 8), like=x), options("Squeeze", squeezeDims=[2]))
    expanded = net.net.op(Operator.EXPAND_DIMS, [squeezed, net.integers([1])], net.result((1, 1, 3, 8), like=x), options("ExpandDims"))
    wide = net.reshape(expanded, 1, 2, 12)
    net.net.finish(net.net.op(Operator.SQUEEZE, [wide], net.result((2, 12), like=x), options("Squeeze", squeezeDims=[])))


def blocks(code, kind, shape, size):
    def layer(net, x):
        n, h, w, c = shape
        if code == Operator.DEPTH_TO_SPACE:
            extents = (n, h * size, w * size, c // size**2)
        else:
            extents = (n, h // size, w // size, c * size**2)
        return net.net.op(code, [x], net.result(extents, like=x), options(kind, blockSize=size), version=2)

    return one(shape, layer)


def reduced(name, shape, axes, keep, same=False, **quantization):
    return one(shape, lambda net, x: net.reduce(name, x, axes, keep, like=x if same else None, **quantization), scale=0.05, zero_point=-9)


def arg_max(shape, axis, dtype=np.int32):
    def layer(net, x):
        y = net.net.tensor([extent for at, extent in enumerate(shape) if at != axis % len(shape)], dtype)
        return net.net.op(Operator.ARG_MAX, [x, net.integers(axis)], y, options("ArgMax", outputType=schema.TensorType.INT32), version=2)

    return one(shape, layer)


def resize(name, shape, height, width, **named):
    return one(shape, lambda net, x: net.resize(name, x, height, width, **named))


def cases():
    made = []
    made += both("concatenation_channels", concatenation([(1, 3, 2, 5), (1, 3, 2, 1), (1, 3, 2, 4)], 3))
    made += both("concatenation_rows", concatenation([(1, 3, 4, 2), (1, 1, 4, 2)], 1))
    made += both("concatenation_columns", concatenation([(1, 3, 4, 2), (1, 3, 1, 2)], -2))
    made += both("concatenation_of_constant", concatenation_of_constant)
    made += both("split_channels", split((1, 3, 2, 6), 3, 3))
    made += both("split_rows", split((1, 4, 5), 1, 2, named_axis=-2))
    made += both("split_v", split_v((1, 3, 7, 2), 2, [3, 1, 3]))
    made += both("slice", slice_of((1, 4, 5, 6), (0, 1, 2, 3), (1, 2, -1, 2)))
    made += both("slice_vector", slice_of((1, 20), (0, 7), (1, 9)))
    made += both("strided_slice", strided_slice((1, 6, 7, 4), [(0, 1, 1), (1, 6, 2), (0, 7, 3), (1, 3, 1)]))
    made += both("strided_slice_backwards", strided_slice((1, 5, 4, 3), [(0, 1, 1), (4, 0, -1), (3, 0, -2), (2, 0, -1)], beginMask=0b0001, endMask=0b1001))
    made += both("strided_slice_shrinks", strided_slice((1, 5, 6), [(0, 1, 1), (-2, -1, 1), (1, -1, 2)], shrinkAxisMask=0b010, beginMask=0b001, endMask=0b001))
    made += both("strided_slice_last_step", strided_slice((1, 8, 5), [(0, 0, 1), (-1, 0, 1), (0, 0, 1)], beginMask=0b101, endMask=0b111))
    made += both("pad", one((1, 3, 4, 2), lambda net, x: net.pad(x, [(0, 0), (1, 2), (0, 3), (0, 0)]), zero_point=-128))
    made += both("pad_channels", one((1, 3, 2, 3), lambda net, x: net.pad(x, [(0, 0), (0, 1), (2, 0), (1, 3)]), zero_point=55))
    made += both("pad_v2", one((1, 2, 3, 4), lambda net, x: net.pad(x, [(0, 0), (2, 1), (1, 0), (0, 2)], value=-7)))
    made += both("mirror_pad_reflect", one((1, 4, 3, 2), lambda net, x: net.pad(x, [(0, 0), (3, 1), (2, 2), (0, 1)], mirror="REFLECT")))
    made += both("mirror_pad_symmetric", one((1, 3, 4), lambda net, x: net.pad(x, [(0, 0), (3, 2), (1, 4)], mirror="SYMMETRIC")))
    made += both("shapes_only", shapes_only)
    for shape, order in [((1, 3, 4, 5), (0, 3, 1, 2)), ((1, 3, 4, 5), (0, 2, 1, 3)), ((1, 4, 6), (0, 2, 1)), ((2, 3, 4, 5), (3, 1, 0, 2)), ((5, 4), (1, 0))]:
        made += both(f"transpose_{''.join(map(str, order))}", transpose(shape, order))
    made += both("pack_first", pack((1, 5), 3, 0))
    made += both("pack_middle", pack((1, 3, 4), 2, 2))
    made += both("pack_last", pack((2, 3), 4, -1))
    made += both("unpack_rows", unpack((1, 4, 5), 1))
    made += both("unpack_last", unpack((1, 2, 3), -1))
    made += both("depth_to_space", blocks(Operator.DEPTH_TO_SPACE, "DepthToSpace", (1, 2, 3, 12), 2))
    made += both("space_to_depth", blocks(Operator.SPACE_TO_DEPTH, "SpaceToDepth", (1, 6, 9, 2), 3))

    made += both("mean_image", reduced("MEAN", (1, 5, 7, 4), (1, 2), False, scale=0.013, zero_point=-30))
    made += both("mean_image_keeps", reduced("MEAN", (1, 3, 3, 6), (1, 2), True, same=True))
    made += both("mean_channels", reduced("MEAN", (1, 3, 2, 9), (-1,), True, scale=0.03))
    made += both("mean_rows", reduced("MEAN", (1, 6, 5), (1,), False, scale=0.03, zero_point=127))
    made += both("mean_everything", reduced("MEAN", (1, 3, 4, 2), (1, 2, 3), False, scale=0.03, zero_point=0))
    made += both("sum_image", reduced("SUM", (1, 4, 3, 5), (1, 2), True, scale=0.2, zero_point=3))
    made += both("sum_channels", reduced("SUM", (1, 4, 7), (2,), False, scale=0.11, zero_point=-128))
    made += both("reduce_max_image", reduced("REDUCE_MAX", (1, 4, 3, 5), (1, 2), False, same=True))
    made += both("reduce_max_channels", reduced("REDUCE_MAX", (1, 3, 2, 6), (3,), True, same=True))
    made += both("arg_max_vector", arg_max((1, 10), -1))
    made += both("arg_max_rows", arg_max((1, 6, 4), 1))

    for name in ("RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR"):
        lower = name.lower()
        made += both(f"{lower}_doubled", resize(name, (1, 3, 4, 2), 6, 8))
        made += both(f"{lower}_half_pixels", resize(name, (1, 4, 3, 3), 7, 5, half=True))
        made += both(f"{lower}_align_corners", resize(name, (1, 5, 4, 2), 3, 9, align=True))
        made += both(f"{lower}_smaller", resize(name, (1, 9, 7, 2), 4, 3))
    return made
