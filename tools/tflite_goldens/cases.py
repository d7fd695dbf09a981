"""What a golden is: a network and the rows that it is fed."""

import zlib
from dataclasses import dataclass
from typing import Callable

import numpy as np

from .layers import Layers

SEED = 20240229
ROWS = {"i8": 6, "f32": 4}


@dataclass(frozen=True)
class Case:
    """`build(layers)` builds the network in `layers.net` and finishes it."""

    name: str
    kind: str
    build: Callable
    # Of float inputs: values are drawn from this range.
    span: tuple = (-4.0, 4.0)
    rows: int | None = None

    def make(self):
        """The file, its rows (a list of input arrays each) and its number of outputs."""
        # Each case has its own generator: adding one changes no other.
        rng = np.random.default_rng([SEED, zlib.crc32(self.name.encode())])
        layers = Layers(self.kind, rng)
        self.build(layers)
        net = layers.net
        rows = [[self.values(tensor, row, rng) for tensor in net.inputs] for row in range(self.rows or ROWS[self.kind])]
        return net.bytes(), rows, len(net.outputs)

    def values(self, tensor, row, rng):
        """The first rows are the extremes: the least value everywhere, the greatest, and both in turn. The others are random."""
        shape = tensor.shape
        if tensor.dtype == np.float32:
            low, high = self.span
        elif tensor.dtype == np.bool_:
            low, high = 0, 1
        elif tensor.dtype in (np.int32, np.int64):
            low, high = -1000, 1000
        else:
            low, high = np.iinfo(tensor.dtype).min, np.iinfo(tensor.dtype).max
        if row == 0:
            made = np.full(shape, low)
        elif row == 1:
            made = np.full(shape, high)
        elif row == 2:
            made = np.where(rng.random(shape) < 0.5, low, high)
        elif tensor.dtype == np.float32:
            made = rng.uniform(low, high, shape)
        else:
            made = rng.integers(low, high, shape, endpoint=True)
        return made.astype(tensor.dtype)


def both(name, build, **named):
    """The same network in int8 and in f32."""
    return [Case(f"{name}_{kind}", kind, build, **named) for kind in ("i8", "f32")]


def int8(name, build, **named):
    return [Case(f"{name}_i8", "i8", build, **named)]


def float32(name, build, **named):
    return [Case(f"{name}_f32", "f32", build, **named)]


def mixed(name, build, **named):
    """A network whose name says its types."""
    return [Case(name, "i8", build, **named)]
