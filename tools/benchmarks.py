#!/usr/bin/env python3
"""Counts what models cost on all emulated cores.

    tools/benchmarks.py                   writes docs/benchmarks.json and docs/benchmarks.md
    tools/benchmarks.py kws:cortex-m4 …   counts only these anew
    tools/benchmarks.py --check           fails if a count or a size is more than 2 % above that of docs/benchmarks.json
    tools/benchmarks.py --check kws:cortex-m4 …   looks only at these
    tools/benchmarks.py --quick-check     looks at two models on one core

Two of the models are .tflite files in $SMIDGEN_SHARED/models, the others lie in tests/tflite. Everything is counted by `smidgen bench`; this only calls
it and writes tables.
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
MODELS = {
    "kws": ("$SMIDGEN_SHARED/models/kws_ref_model.tflite", "MLPerf Tiny keyword spotting, a DS-CNN"),
    "resnet8": ("tests/tflite/zoo_resnet8_i8.tflite", "MLPerf Tiny image classification by its shapes, a ResNet"),
    "mobilenet": ("tests/tflite/zoo_mobilenet_v1_025_i8.tflite", "MLPerf Tiny visual wake words by its shapes, MobileNetV1-0.25"),
    "autoencoder": ("$SMIDGEN_SHARED/models/ad01_int8.tflite", "MLPerf Tiny anomaly detection, an autoencoder"),
}
# Instructions by core, and arena, code and stack on each, that this project set itself.
TARGETS = {
    "kws": ([15_500_000, 6_800_000, 3_000_000, 3_000_000, 3_000_000, 950_000], 10_240, 14_336),
    "resnet8": ([64_000_000, 26_000_000, 12_000_000, 12_000_000, 12_000_000, 2_900_000], 36_864, 12_288),
    "mobilenet": ([50_000_000, 21_000_000, 8_800_000, 8_800_000, 8_800_000, 3_300_000], 40_960, 14_336),
    "autoencoder": ([1_300_000, 600_000, 250_000, 250_000, 250_000, 45_000], 2_304, 6_144),
}
STACK_TARGET = 1024
QUICK = ["kws:cortex-m4", "autoencoder:cortex-m4"]
FIGURES = ["instructions", "arena_bytes", "stack_peak_bytes", "code_bytes", "model_bytes"]
LABELS = {"instructions": "instructions", "arena_bytes": "arena", "stack_peak_bytes": "stack", "code_bytes": "code"}
# Why a figure is more than its target: models, cores, the figure, and the reason. Every one that is needs a reason.
REASONS = []
TOLERANCE = 0.02
BEGIN, END = "<!-- begin: written by tools/benchmarks.py -->\n", "<!-- end -->\n"


def smidgen(*arguments):
    program = os.environ.get("SMIDGEN")
    command = [program] if program else ["cargo", "run", "--quiet", "--release", "-p", "smidgen-trainer", "--bin", "smidgen", "--"]
    done = subprocess.run([*command, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"smidgen {' '.join(arguments)} failed")
    return done.stdout


def measure(wanted, whole=False):
    """What `smidgen bench` finds, by model and core; with `whole`, without the steps of any."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, core in wanted:
            file = os.path.expandvars(MODELS[name][0])
            model = f"{folder}/{name}-{core}.smg"
            smidgen("import", str(ROOT / file), "-o", model, "--for", core)
            steps = core == "cortex-m4" and not whole
            found = json.loads(smidgen("bench", model, "--on", core, "--json", *([] if steps else ["--whole"])))
            kept = {key: found[key] for key in [*FIGURES, "macs", "measured_code_bytes"]}
            if steps:
                kept["steps"] = [[step[key] for key in ("name", "op", "macs", "instructions")] for step in found["steps"]]
            results.setdefault(name, {})[core] = kept
            print(f"{name} on {core}: {found['instructions']:,} instructions", file=sys.stderr)
    return results


def grown(old, new):
    """What is more than the tolerance above `old`, in words; `new` may have fewer models and cores."""
    for name, cores in new.items():
        for core, figures in cores.items():
            for key in FIGURES:
                before, after = old.get(name, {}).get(core, {}).get(key), figures[key]
                if before is None:
                    yield f"{name} on {core}: there is no {key} to compare with"
                elif after > before * (1 + TOLERANCE):
                    yield f"{name} on {core}: {key} grew from {before:,} to {after:,}, by {100 * (after / before - 1):.1f} %"


def check(committed, wanted):
    # The check can fail: it sees one figure that is 3 % larger, and one that is not there.
    name, core = next((name, core) for name, cores in committed.items() for core in cores)
    larger = {name: {core: dict(committed[name][core])}}
    assert not list(grown(committed, larger))
    larger[name][core]["instructions"] = int(larger[name][core]["instructions"] * 1.03) + 1
    assert len(list(grown(committed, larger))) == 1 and len(list(grown({}, larger))) == len(FIGURES)
    problems = list(grown(committed, measure(wanted, whole=True)))
    if problems:
        sys.exit("\n".join([*problems, "Make it smaller, or run `make bench` and say in the commit what the growth buys."]))


def limits_of(name, core):
    instructions, arena, code = TARGETS[name]
    return {"instructions": instructions[CORES.index(core)], "arena_bytes": arena, "stack_peak_bytes": STACK_TARGET, "code_bytes": code}


def shortfalls(results):
    """What is more than its target, by how much, and why: one row for each figure of a model, with the cores that share the reason."""
    rows = {}
    for name, cores in results.items():
        for core, found in cores.items():
            for key, limit in limits_of(name, core).items():
                if found[key] > limit:
                    reasons = [why for models, of, figure, why in REASONS if figure == key and name in models and core in of]
                    if not reasons:
                        sys.exit(f"{name} on {core}: {key} is {found[key]:,}, more than {limit:,}; say why in REASONS of tools/benchmarks.py")
                    over = f"{core} {100 * (found[key] / limit - 1):.1f} %"
                    rows.setdefault((key, name, reasons[0]), []).append(over)
    if not rows:
        return ["Nothing does."]
    lines = ["| figure | model | by how much | why |", "|---|---|---|---|"]
    return lines + [f"| {LABELS[key]} | {name} | {', '.join(over)} | {why} |" for (key, name, why), over in sorted(rows.items())]


def tables(results):
    lines = ["### What falls short, and why", "", *shortfalls(results), ""]
    for name, (file, what) in MODELS.items():
        cores = results.get(name, {})
        if not cores:
            continue
        macs = next(iter(cores.values()))["macs"]
        lines += [f"### {name}: {what}", "", f"`{file}`, {macs:,} multiply-accumulates. In brackets: what it should at most be, where it is more.", ""]
        lines += ["| core | instructions | per MAC | arena | stack | code | model |", "|---|--:|--:|--:|--:|--:|--:|"]
        for core in CORES:
            if core not in cores:
                continue
            found = cores[core]
            limits = limits_of(name, core)
            cells = []
            for key in FIGURES:
                limit = limits.get(key)
                cells.append(f"{found[key]:,}" + (f" ({limit:,})" if limit is not None and found[key] > limit else ""))
            cells.insert(1, f"{found['instructions'] / macs:.2f}")
            lines.append("| " + " | ".join([core, *cells]) + " |")
        steps = cores.get("cortex-m4", {}).get("steps", [])
        if steps:
            lines += ["", "Instructions of each step on the Cortex-M4:", "", "| step | operator | MACs | instructions |", "|---|---|--:|--:|"]
            lines += [f"| {step} | {operator} | {macs:,} | {count:,} |" for step, operator, macs, count in steps]
        lines.append("")
    return "\n".join(lines) + "\n"


def main():
    arguments = sys.argv[1:]
    checks = arguments[:1] in (["--check"], ["--quick-check"])
    if arguments[:1] == ["--quick-check"] and len(arguments) == 1:
        names = QUICK
    else:
        names = arguments[1:] if checks else arguments
    wanted = [tuple(name.split(":")) for name in names] or [(name, core) for name in MODELS for core in CORES]
    if any(len(pair) != 2 or pair[0] not in MODELS or pair[1] not in CORES for pair in wanted):
        sys.exit(__doc__)
    if "SMIDGEN_SHARED" not in os.environ:
        message = "benchmarks: SMIDGEN_SHARED is not set, so there are no models to measure"
        if checks and os.environ.get("CI") != "true":
            print(f"SKIPPED, nothing was measured: {message}", file=sys.stderr)
            return
        sys.exit(message)
    committed = json.loads(JSON.read_text()) if JSON.exists() else {}
    if checks:
        check(committed, wanted)
        return
    for name, cores in measure(wanted).items():
        committed.setdefault(name, {}).update(cores)
    ordered = {name: {core: committed[name][core] for core in CORES if core in committed[name]} for name in MODELS if name in committed}
    JSON.write_text(json.dumps(ordered, indent=1) + "\n")
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(before + BEGIN + "\n" + tables(ordered) + END + after)


if __name__ == "__main__":
    main()
