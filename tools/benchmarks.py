#!/usr/bin/env python3
"""Counts what models cost on all emulated cores.

    tools/benchmarks.py           writes docs/benchmarks.json and docs/benchmarks.md
    tools/benchmarks.py --check   fails if a count or a size is more than 2 % above that of docs/benchmarks.json

The models are the .tflite files in $SMIDGEN_SHARED/models. Everything is counted by `smidgen bench`; this only calls it and writes tables.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
JSON = ROOT / "docs/benchmarks.json"
PAGE = ROOT / "docs/benchmarks.md"
CORES = ["cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"]
MODELS = [
    ("kws", "kws_ref_model.tflite", "MLPerf Tiny keyword spotting, a DS-CNN"),
    ("autoencoder", "ad01_int8.tflite", "MLPerf Tiny anomaly detection, an autoencoder"),
]
FIGURES = ["instructions", "arena_bytes", "stack_peak_bytes", "code_bytes", "model_bytes"]
TOLERANCE = 0.02
BEGIN, END = "<!-- begin: written by tools/benchmarks.py -->\n", "<!-- end -->\n"


def smidgen(*arguments):
    program = os.environ.get("SMIDGEN")
    command = [program] if program else ["cargo", "run", "--quiet", "--release", "-p", "smidgen-trainer", "--bin", "smidgen", "--"]
    done = subprocess.run([*command, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"smidgen {' '.join(arguments)} failed")
    return done.stdout


def measure(shared):
    packs = "--for" in smidgen("import", "--help")
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, file, _ in MODELS:
            for core in CORES:
                model = f"{folder}/{name}-{core}.smg"
                smidgen("import", str(shared / "models" / file), "-o", model, *(["--for", core] if packs else []))
                found = json.loads(smidgen("bench", model, "--on", core, "--json"))
                results.setdefault(name, {})[core] = found
                print(f"{name} on {core}: {found['instructions']:,} instructions", file=sys.stderr)
    return results


def summary(results):
    return {
        name: {core: {key: found[key] for key in [*FIGURES, "macs", "measured_code_bytes"]} for core, found in cores.items()}
        for name, cores in results.items()
    }


def grown(old, new):
    """What is more than the tolerance above `old`, in words."""
    for name, cores in old.items():
        for core, figures in cores.items():
            for key in FIGURES:
                before, after = figures[key], new.get(name, {}).get(core, {}).get(key)
                if after is None:
                    yield f"{name} on {core}: {key} is not measured any more"
                elif after > before * (1 + TOLERANCE):
                    yield f"{name} on {core}: {key} grew from {before:,} to {after:,}, by {100 * (after / before - 1):.1f} %"


def tables(results):
    lines = []
    for name, file, what in MODELS:
        cores = results[name]
        macs = next(iter(cores.values()))["macs"]
        lines += [f"### {name}: {what}", "", f"`{file}`, {macs:,} multiply-accumulates.", ""]
        lines += ["| core | instructions | per MAC | arena | stack | code | model |", "|---|--:|--:|--:|--:|--:|--:|"]
        for core, found in cores.items():
            per_mac = f"{found['instructions'] / macs:.2f}"
            cells = [f"{found[key]:,}" for key in FIGURES]
            lines.append("| " + " | ".join([core, cells[0], per_mac, *cells[1:]]) + " |")
        lines += ["", "Instructions of each step on the Cortex-M4:", "", "| step | operator | MACs | instructions |", "|---|---|--:|--:|"]
        for step in cores["cortex-m4"]["steps"]:
            lines.append(f"| {step['name']} | {step['op']} | {step['macs']:,} | {step['instructions']:,} |")
        lines.append("")
    return "\n".join(lines) + "\n"


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(__doc__)
    check = sys.argv[1:] == ["--check"]
    shared = os.environ.get("SMIDGEN_SHARED")
    if shared is None:
        message = "benchmarks: SMIDGEN_SHARED is not set, so there are no models to measure"
        if check and os.environ.get("CI") != "true":
            print(f"SKIPPED, nothing was measured: {message}", file=sys.stderr)
            return
        sys.exit(message)
    results = measure(pathlib.Path(shared))
    if check:
        committed = json.loads(JSON.read_text())
        # The check can fail: it sees one figure that is 3 % larger.
        name, core = next((name, core) for name, cores in committed.items() for core in cores)
        larger = json.loads(json.dumps(committed))
        larger[name][core]["instructions"] = int(larger[name][core]["instructions"] * 1.03) + 1
        assert len(list(grown(committed, larger))) == 1 and not list(grown(committed, committed))
        problems = list(grown(committed, summary(results)))
        if problems:
            sys.exit("\n".join([*problems, "Make it smaller, or run `make bench` and say in the commit what the growth buys."]))
        return
    JSON.write_text(json.dumps(summary(results), indent=1) + "\n")
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(before + BEGIN + "\n" + tables(results) + END + after)


if __name__ == "__main__":
    main()
