#!/usr/bin/env python3
"""Runs a .tflite network in TensorFlow Lite Micro: run_tflite_micro.py NET.tflite X.npy Y.npy

Rows of X.npy are samples for a network with one input and one output; rows of Y.npy are its outputs. Run it with tools/with-tflite.sh --micro.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from tflite_goldens import oracle  # noqa: E402


def main():
    net, inputs, outputs = sys.argv[1:]
    from tflite_micro.python.tflite_micro import runtime

    model = Path(net).read_bytes()
    shape = runtime.Interpreter.from_bytes(model, arena_size=oracle.ARENA).get_input_details(0)["shape"]
    rows = [[row.reshape(shape)] for row in np.load(inputs)]
    results = [result[0].reshape(-1) for result in oracle.micro(model, rows, 1)]
    np.save(outputs, np.stack(results))
    print(oracle.MICRO)


if __name__ == "__main__":
    main()
