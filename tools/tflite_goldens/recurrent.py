"""Operators that remember: the LSTM over a sequence, SVDF, resource variables. The rows of these networks depend on those before them."""

import numpy as np

from .cases import both, int8
from .layers import ACTIVATIONS, options
from .net import Operator, per_tensor, schema

TANH = schema.ActivationFunctionType.TANH


def lstm(net, x, units, time_major=False, cell_clip=0.0, cell_power=-11, spread=1.0, hidden=None):
    """`cell_power`: the cell state's scale is 2 to it. `hidden`: scale and zero point of the output."""
    batch, width = x.shape[1 if time_major else 0], x.shape[2]
    hidden = per_tensor(*(hidden or (1 / 128, 0))) if net.int8 else None
    cell = per_tensor(2.0**cell_power) if net.int8 else None

    def weights(columns):
        if not net.int8:
            data = net.rng.standard_normal((units, columns)) * spread / np.sqrt(columns)
            return net.net.constant(data.astype(np.float32))
        data = net.rng.integers(-127, 128, (units, columns)).astype(np.int8)
        return net.net.constant(data, per_tensor(np.float32(spread * (0.8 + 0.4 * net.rng.random()) / (73 * np.sqrt(columns)))))

    def bias(matrix):
        if not net.int8:
            return net.net.constant((net.rng.standard_normal(units) * 0.5).astype(np.float32))
        scale = np.float32(x.scale) * np.float32(matrix.scale)
        data = np.round(net.rng.standard_normal(units) * 0.5 / scale).astype(np.int32)
        return net.net.constant(data, per_tensor(scale))

    inputs = [weights(width) for _ in range(4)]
    recurrent = [weights(units) for _ in range(4)]
    biases = [bias(matrix) for matrix in inputs]
    output_state = net.net.tensor((batch, units), net.dtype, hidden, variable=True)
    cell_state = net.net.tensor((batch, units), np.int16 if net.int8 else np.float32, cell, variable=True)
    y = net.net.tensor((*x.shape[:2], units), net.dtype, hidden)
    chosen = options("UnidirectionalSequenceLSTM", fusedActivationFunction=TANH, cellClip=cell_clip, timeMajor=time_major)
    read = [x, *inputs, *recurrent, *[None] * 3, *biases, *[None] * 2, output_state, cell_state, *[None] * 4]
    return net.net.op(Operator.UNIDIRECTIONAL_SEQUENCE_LSTM, read, y, chosen, version=3)


def lstm_alone(shape, units, source=None, **named):
    def build(net):
        x = net.input(*shape, **({"scale": 0.02, "zero_point": 4} | (source or {})))
        net.net.finish(lstm(net, x, units, **named))

    return build


def svdf(net, x, units, rank, memory, wide=True, activation="RELU", scale=None, zero_point=-128, state_zero_point=0):
    """`wide`: state and time weights are int16, else int8."""
    filters, (batch, width) = units * rank, x.shape
    if not net.int8:
        feature = net.net.constant((net.rng.standard_normal((filters, width)) / np.sqrt(width)).astype(np.float32))
        time = net.net.constant((net.rng.standard_normal((filters, memory)) / np.sqrt(memory * rank)).astype(np.float32))
        bias = net.net.constant(net.rng.standard_normal(units).astype(np.float32))
        state = net.net.tensor((batch, memory * filters), np.float32, variable=True)
        y = net.result((batch, units))
    else:
        kind = np.int16 if wide else np.int8
        top = np.iinfo(kind).max
        feature_scale, state_scale = np.float32(0.01), np.float32(x.scale * 0.01 * 73 * 73 * np.sqrt(width) * 2.5 / top)
        if state_zero_point:
            # No feature is cut off: there this version of TensorFlow Lite Micro adds the zero point behind the clamp, and wraps (mended since).
            state_scale *= np.float32(8)
        time_scale = np.float32(1 / top)
        feature = net.net.constant(net.rng.integers(-127, 128, (filters, width)).astype(np.int8), per_tensor(feature_scale))
        time = net.net.constant(net.rng.integers(-top, top + 1, (filters, memory)).astype(kind), per_tensor(time_scale))
        spread = 0.25 * top**2 * np.sqrt(memory * rank)
        bias = net.net.constant((net.rng.standard_normal(units) * 0.2 * spread).astype(np.int32), per_tensor(state_scale * time_scale))
        state = net.net.tensor((batch, memory * filters), kind, per_tensor(state_scale, state_zero_point), variable=True)
        y = net.result((batch, units), scale or spread * float(state_scale) * float(time_scale) / 30, zero_point)
    chosen = options("SVDF", rank=rank, fusedActivationFunction=ACTIVATIONS[activation])
    return net.net.op(Operator.SVDF, [x, feature, time, bias, state], y, chosen, version=4)


def svdf_alone(shape, *arguments, source=None, **named):
    def build(net):
        x = net.input(*shape, **(source or {}))
        net.net.finish(svdf(net, x, *arguments, **named))

    return build


class Variable:
    """A resource variable: read and assigned in the main subgraph, set to `start` once by another one."""

    def __init__(self, net, name, shape, quantization, start):
        self.net, self.name, self.shape, self.quantization, self.start = net, name, shape, quantization, start

    def handle(self, graph):
        made = graph.tensor((), "resource", name=f"{graph.name}/{self.name}")
        return graph.op(Operator.VAR_HANDLE, [], made, options("VarHandle", container="", sharedName=self.name))

    def initialize(self, graph):
        value = graph.constant(np.full(self.shape, self.start, self.net.dtype), self.quantization)
        graph.op(Operator.ASSIGN_VARIABLE, [self.handle(graph), value], [], options("AssignVariable"))

    def read(self):
        y = self.net.net.tensor(self.shape, self.net.dtype, self.quantization)
        return self.net.net.op(Operator.READ_VARIABLE, [self.handle(self.net.net)], y, options("ReadVariable"))

    def assign(self, value):
        self.net.net.op(Operator.ASSIGN_VARIABLE, [self.handle(self.net.net), value], [], options("AssignVariable"))


def variables(net, *kept):
    """The call that gives the variables their first values; before anything else."""
    graph = net.net.subgraph("initialize")
    for variable in kept:
        variable.initialize(graph)
    graph.finish()
    net.net.op(Operator.CALL_ONCE, [], [], options("CallOnce", initSubgraphIndex=len(net.net.subgraphs) - 1))


def stream(net, x, memory, name):
    """The rows of the last invocations before those of `x`: what a streaming convolution looks at."""
    n, rows, w, c = x.shape
    zero = x.zero_point if net.int8 else 0
    kept = Variable(net, name, (n, memory, w, c), x.quantization, zero)
    window = net.concatenation([kept.read(), x], 1)
    begin, end, strides = ([0, rows, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1])
    latest = net.result((n, memory, w, c), like=x)
    chosen = options("StridedSlice", beginMask=0b1101, endMask=0b1111)
    net.net.op(Operator.STRIDED_SLICE, [window, *map(net.integers, (begin, end, strides))], latest, chosen, version=2)
    kept.assign(latest)
    return window, kept


def accumulator(net):
    """y = x + what was there before, kept for the next row."""
    x = net.input(1, 5, scale=0.02, zero_point=-3)
    call = len(net.net.operators)
    total = Variable(net, "total", (1, 5), per_tensor(0.06, 7) if net.int8 else None, 7 if net.int8 else 0)
    y = net.net.op(Operator.ADD, [total.read(), x], net.net.tensor((1, 5), net.dtype, total.quantization), options("Add"), version=2)
    total.assign(y)
    variables(net, total)
    net.net.operators.insert(call, net.net.operators.pop())
    net.net.finish(y)


def cases():
    made = []
    made += both("lstm", lstm_alone((1, 5, 3), 4))
    made += both("lstm_time_major", lstm_alone((6, 1, 4), 3, time_major=True, cell_power=-12, hidden=(1 / 127, -11)))
    made += both("lstm_batch", lstm_alone((2, 4, 3), 5, cell_power=-13))
    made += both("lstm_time_major_batch", lstm_alone((3, 2, 5), 2, time_major=True))
    made += both("lstm_cell_clip", lstm_alone((1, 9, 2), 3, cell_clip=1.25, spread=4.0, cell_power=-15, hidden=(0.0069, 127), source={"zero_point": -128}))
    made += both("lstm_one_step", lstm_alone((1, 1, 8), 7, cell_power=-10, hidden=(0.008, -128), source={"zero_point": 127}))
    made += both("lstm_saturates", lstm_alone((1, 12, 6), 8, spread=12.0, cell_power=-11))
    made += both("svdf", svdf_alone((1, 6), 4, 2, 5))
    made += both("svdf_batch_rank_one", svdf_alone((3, 5), 3, 1, 4, source={"zero_point": 127}, zero_point=-20, activation="NONE"))
    made += int8("svdf_narrow_state", svdf_alone((1, 7), 3, 2, 6, wide=False, source={"zero_point": -128}))
    made += int8("svdf_narrow_state_zero_point", svdf_alone((1, 7), 5, 1, 3, wide=False, state_zero_point=5, zero_point=127))
    made += both("variable_accumulates", accumulator)
    return made
