"""Writes tests/tflite/: small .tflite networks, inputs for them, and what TensorFlow Lite Micro computes.

    tools/with-tflite.sh tools/make_tflite_goldens.py [--check] [--only TEXT] [--out DIR]

For each network NAME there are NAME.tflite, NAME/input.npy and NAME/output.npy (input_0.npy, input_1.npy, ... where there are several); the first dimension of
the arrays counts rows, which were run one after the other in one interpreter, so that state lives on from row to row. manifest.json lists the networks with their operators and
their oracle: TensorFlow Lite Micro, or, where that has no such operator for such a type, TensorFlow Lite's reference kernels.

`--check` writes nothing and fails if anything would be different. `--only` makes the networks whose name contains TEXT, and leaves the manifest.
"""

import argparse
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np

from tflite_goldens import converted, elementwise, movement, networks, oracle, recurrent, weighted, zoo
from tflite_goldens.net import operators_of

HERE = Path(__file__).resolve().parent
FAMILIES = [weighted, elementwise, movement, recurrent, networks, converted, zoo]


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def arrays(kind, rows):
    """One array per input or output, with its file's name."""
    stacked = [np.stack(parts) for parts in zip(*rows)]
    if len(stacked) == 1:
        return {f"{kind}.npy": stacked[0]}
    return {f"{kind}_{index}.npy": array for index, array in enumerate(stacked)}


def compute(model, rows, outputs):
    """The oracle's name and its results."""
    try:
        return oracle.MICRO, oracle.micro(model, rows, outputs), None
    except RuntimeError as error:
        return oracle.reference_version(), oracle.reference(model, rows, outputs), str(error)


def golden(case):
    """All files of a case, and its line of the manifest."""
    model, rows, outputs = case.make()
    name, results, reason = compute(model, rows, outputs)
    inputs, outputs = arrays("input", rows), arrays("output", results)
    entry = {
        "name": case.name,
        "oracle": name,
        "operators": operators_of(model),
        "rows": len(rows),
        "inputs": [describe(file, array) for file, array in inputs.items()],
        "outputs": [describe(file, array) for file, array in outputs.items()],
    }
    if reason:
        entry["why_not_micro"] = " ".join(reason.split())
    files = {f"{case.name}.tflite": model}
    files |= {f"{case.name}/{file}": npy(array) for file, array in (inputs | outputs).items()}
    return files, entry


def describe(file, array):
    return {"file": file, "type": str(array.dtype), "shape": list(array.shape[1:])}


def dull(entry, results):
    """Whether all rows have the same output: such a golden tests little."""
    return all((array[2:] == array[2]).all() for array in results)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    parser.add_argument("--only", default="", metavar="TEXT", help="networks whose name contains TEXT")
    parser.add_argument("--out", type=Path, default=HERE.parent / "tests" / "tflite")
    arguments = parser.parse_args()

    cases = [case for family in FAMILIES for case in family.cases()]
    assert len({case.name for case in cases}) == len(cases), "two cases have one name"
    files, entries = {}, []
    for case in cases:
        if arguments.only not in case.name:
            continue
        try:
            made, entry = golden(case)
        except (RuntimeError, ValueError) as error:
            sys.exit(f"{case.name}: {error}")
        results = [np.load(io.BytesIO(made[f"{case.name}/{output['file']}"])) for output in entry["outputs"]]
        note = f"  [{entry['oracle']}: {entry['why_not_micro']}]" if "why_not_micro" in entry else ""
        note += "  ALL ROWS EQUAL" if dull(entry, results) else ""
        print(f"{case.name}: {' '.join(entry['operators'])}, {sum(map(len, made.values()))} bytes{note}", flush=True)
        files |= made
        entries.append(entry)
    if not arguments.only:
        lines = ",\n".join(json.dumps(entry) for entry in entries)
        files["manifest.json"] = f'{{"generator": "tools/make_tflite_goldens.py", "files": [\n{lines}\n]}}\n'.encode()
    print(f"{len(entries)} networks, {sum(map(len, files.values()))} bytes")

    if arguments.check:
        different = [name for name, data in files.items() if not same(arguments.out / name, data)]
        if not arguments.only:
            known = {str(path.relative_to(arguments.out)) for path in arguments.out.rglob("*") if path.is_file()}
            different += sorted(known - files.keys())
        if different:
            sys.exit(f"different from {arguments.out}: {', '.join(different)}")
        return
    if not arguments.only and arguments.out.exists():
        shutil.rmtree(arguments.out)
    for name, data in files.items():
        path = arguments.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def same(path, data):
    return path.is_file() and path.read_bytes() == data


main()
