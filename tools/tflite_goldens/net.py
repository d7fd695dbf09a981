"""Builds a .tflite file directly, with any quantization parameters: what the converter would never write has to be run, too."""

from dataclasses import dataclass

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

Operator = schema.BuiltinOperator
TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.uint8): schema.TensorType.UINT8,
    np.dtype(np.int16): schema.TensorType.INT16,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int64): schema.TensorType.INT64,
    np.dtype(np.bool_): schema.TensorType.BOOL,
}


@dataclass(frozen=True)
class Quantization:
    """real = scale * (stored - zero_point); several scales are those of the slices along `axis`."""

    scale: tuple
    zero_point: tuple
    axis: int = 0


def per_tensor(scale, zero_point=0):
    return Quantization((float(scale),), (int(zero_point),))


def per_channel(scales, axis=0):
    return Quantization(tuple(float(scale) for scale in scales), (0,) * len(scales), axis)


@dataclass
class Tensor:
    index: int
    shape: tuple
    dtype: np.dtype
    quantization: Quantization | None

    @property
    def scale(self):
        return self.quantization.scale[0]

    @property
    def zero_point(self):
        return self.quantization.zero_point[0]


class Subgraph:
    def __init__(self, net, name):
        self.net, self.name = net, name
        self.tensors, self.inputs, self.outputs, self.operators = [], [], [], []

    def tensor(self, shape, dtype, quantization=None, data=None, variable=False, name=None):
        """A tensor; with `data` a constant, with `variable` one that lives from one invocation to the next."""
        made = schema.TensorT()
        made.shape = list(shape)
        made.hasRank = True
        made.type = schema.TensorType.RESOURCE if dtype == "resource" else TYPES[np.dtype(dtype)]
        made.name = name or f"t{len(self.tensors)}"
        made.isVariable = variable
        made.buffer = self.net.buffer(data)
        if quantization is not None:
            parameters = schema.QuantizationParametersT()
            parameters.scale = list(quantization.scale)
            parameters.zeroPoint = list(quantization.zero_point)
            parameters.quantizedDimension = quantization.axis
            made.quantization = parameters
        self.tensors.append(made)
        kind = None if dtype == "resource" else np.dtype(dtype)
        return Tensor(len(self.tensors) - 1, tuple(shape), kind, quantization)

    def input(self, shape, dtype=np.int8, quantization=None):
        made = self.tensor(shape, dtype, quantization, name=f"input{len(self.inputs)}")
        self.inputs.append(made)
        return made

    def constant(self, data, quantization=None):
        data = np.ascontiguousarray(data)
        return self.tensor(data.shape, data.dtype, quantization, data)

    def op(self, code, inputs, outputs, options=None, version=1, custom_intermediates=None):
        """Adds an operator; `None` among the inputs is one that is left out. Returns its first output."""
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        made = schema.OperatorT()
        made.opcodeIndex = self.net.operator_code(code, version)
        made.inputs = [-1 if tensor is None else tensor.index for tensor in inputs]
        made.outputs = [tensor.index for tensor in outputs]
        if custom_intermediates is not None:
            made.intermediates = [tensor.index for tensor in custom_intermediates]
        if options is not None:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__[:-1])
            made.builtinOptions = options
        self.operators.append(made)
        return outputs[0] if outputs else None

    def finish(self, *outputs):
        self.outputs = list(outputs)

    def table(self):
        made = schema.SubGraphT()
        made.tensors, made.operators, made.name = self.tensors, self.operators, self.name
        made.inputs = [tensor.index for tensor in self.inputs]
        made.outputs = [tensor.index for tensor in self.outputs]
        return made


class Net(Subgraph):
    """A model: its main subgraph, and others if there are any."""

    def __init__(self):
        self.buffers, self.codes = [schema.BufferT()], []
        super().__init__(self, "main")
        self.subgraphs = [self]

    def subgraph(self, name):
        made = Subgraph(self, name)
        self.subgraphs.append(made)
        return made

    def buffer(self, data):
        made = schema.BufferT()
        if data is not None:
            made.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
        self.buffers.append(made)
        return len(self.buffers) - 1

    def operator_code(self, code, version):
        for index, known in enumerate(self.codes):
            if (known.builtinCode, known.version) == (code, version):
                return index
        made = schema.OperatorCodeT()
        made.builtinCode, made.deprecatedBuiltinCode, made.version = code, min(code, 127), version
        self.codes.append(made)
        return len(self.codes) - 1

    def bytes(self):
        model = schema.ModelT()
        model.version, model.description = 3, "smidgen golden"
        model.operatorCodes, model.buffers = self.codes, self.buffers
        model.subgraphs = [subgraph.table() for subgraph in self.subgraphs]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def operators_of(model):
    """The names of the operators of a .tflite file, each once, in the order of first use."""
    table = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    names = {value: name for name, value in vars(Operator).items() if not name.startswith("_")}
    used = {}
    for subgraph in table.subgraphs:
        for operator in subgraph.operators or []:
            code = table.operatorCodes[operator.opcodeIndex]
            used[names[max(code.builtinCode, code.deprecatedBuiltinCode)]] = None
    return list(used)
