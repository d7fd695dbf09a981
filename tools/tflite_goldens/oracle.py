"""What a .tflite network computes, row after row, as TensorFlow Lite Micro or TensorFlow Lite's reference kernels do it."""

import contextlib
import os
import tempfile
from importlib.metadata import version

from tflite_micro.python.tflite_micro import runtime

ARENA = 4 << 20
MICRO = f"tflite-micro {version('tflite-micro')}"


@contextlib.contextmanager
def quiet(messages):
    """What C++ prints on stderr meanwhile is appended to `messages`."""
    saved = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            messages.append(file.read().decode(errors="replace").strip())


def micro(model, rows, outputs):
    """`rows`: a list of input arrays each; state lives on from row to row. Raises RuntimeError where TFLite Micro can't."""
    messages, results = [], []
    try:
        with quiet(messages):
            interpreter = runtime.Interpreter.from_bytes(model, arena_size=ARENA)
            for row in rows:
                for index, array in enumerate(row):
                    interpreter.set_input(array, index)
                interpreter.invoke()
                results.append([interpreter.get_output(index).copy() for index in range(outputs)])
            # Its destructor has things to say, too.
            del interpreter
    except (RuntimeError, ValueError) as error:
        raise RuntimeError(f"{error}: {messages[-1]}") from error
    return results


def reference(model, rows, _outputs):
    """The same of TensorFlow Lite's reference kernels; needs TensorFlow, which TFLite Micro does without."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_content=model, experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    results = []
    for row in rows:
        for detail, array in zip(inputs, row):
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        results.append([interpreter.get_tensor(detail["index"]).copy() for detail in outputs])
    return results


def reference_version():
    return f"tensorflow-cpu {version('tensorflow-cpu')}, reference kernels"
