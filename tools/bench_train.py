#!/usr/bin/env python3
"""Trains five networks with smidgen, PyTorch and TensorFlow in turn, and says how fast each is.

    tools/bench_train.py [--rounds N] [--seconds S] [--threads N] [--nets NAME,...] [--cpu-time] [--check]

All contenders of a network are started and warmed up, then measured one after the other, `--rounds` times with each batch size; a figure is the
median of the rounds, with the better of the batch sizes. Beside each is its share of the multiply-adds that the same threads could do at best, measured
in the same run. Writes docs/training-speed.md: of the networks that it measured, so that a machine which is quiet for a minute at a time can take them
one by one. A network takes 12 times the rounds times the seconds, and a minute before. With --check it fails if a ratio is below the least that is
promised.

With --cpu-time, one thread is measured, by samples in a second of processor time: for a machine that does other things, too. Nothing is written.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/training-speed.md"
BEGIN, END = "<!-- begin: written by tools/bench_train.py -->\n", "<!-- end -->\n"
BATCHES = [32, 128]
# The networks, and how many times as fast as the best other smidgen is to be.
NETS = {"mnist_ds_cnn": 7.0, "mobilenet_v1_025": 4.0, "ds_cnn": 3.0, "autoencoder": 2.0, "resnet8": 1.6}
TORCH, TENSORFLOW = ["tools/with-torch.sh", "tools/bench_train/torch_nets.py"], ["tools/with-tflite.sh", "tools/bench_train/tensorflow_nets.py"]
PEERS = {
    "PyTorch, eager": [*TORCH, "eager"],
    "PyTorch, channels last": [*TORCH, "channels-last"],
    "PyTorch, compiled, channels last": [*TORCH, "compiled"],
    "TensorFlow, graph": [*TENSORFLOW, "graph"],
    "TensorFlow, loop in graph": [*TENSORFLOW, "loop"],
}


class Peer:
    """A process that measures when it is asked to."""

    def __init__(self, name, command, net, threads):
        self.name = name
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TF_ENABLE_ONEDNN_OPTS": "1"}
        command = [*command, net, str(threads), *map(str, BATCHES)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True)

    def line(self):
        line = self.process.stdout.readline().strip()
        if not line:
            sys.exit(f"{self.name} ended")
        return line

    def await_ready(self):
        while self.line() != "ready":
            pass

    def measure(self, batch, seconds):
        """Samples in a second, samples in a second of processor time, bytes."""
        print(batch, seconds, file=self.process.stdin, flush=True)
        return tuple(map(float, self.line().split()))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def smidgen(net, batch, threads, seconds):
    program = os.environ.get("SMIDGEN")
    command = [program] if program else ["cargo", "run", "--quiet", "--release", "-p", "smidgen-trainer", "--bin", "smidgen", "--"]
    command += ["bench-train", net, "--batch", str(batch), "--threads", str(threads), "--seconds", str(seconds), "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"smidgen bench-train {net} failed")
    return json.loads(done.stdout)


def measure(net, options):
    """For each contender, for each batch size, the rounds; and the peaks and the operations of a sample."""
    print(f"{net}: starting {len(PEERS)} others", file=sys.stderr)
    peers = [Peer(name, command, net, options.threads) for name, command in PEERS.items()]
    for peer in peers:
        peer.await_ready()
    rounds, peaks, flops = {}, [], 0
    for _ in range(options.rounds):
        for batch in BATCHES:
            found = smidgen(net, batch, options.threads, options.seconds)
            peaks.append(found["peak_flops_per_second"])
            flops = found["flops_per_sample"]
            rates = found["samples_per_second"], found["samples_per_cpu_second"] or 0, found["peak_memory_bytes"]
            rounds.setdefault("smidgen", {}).setdefault(batch, []).append(rates)
            for peer in peers:
                rounds.setdefault(peer.name, {}).setdefault(batch, []).append(peer.measure(batch, options.seconds))
    for peer in peers:
        peer.close()
    which = 1 if options.cpu_time else 0
    results = {}
    for name, batches in rounds.items():
        medians = {batch: statistics.median(rates[which] for rates in rounds) for batch, rounds in batches.items()}
        best = max(medians, key=medians.get)
        memory = max(rates[2] for rounds in batches.values() for rates in rounds)
        results[name] = {"rate": medians[best], "batch": best, "memory": memory}
    return results, statistics.median(peaks), flops


def table(net, results, peak, flops, options):
    best = max(result["rate"] for name, result in results.items() if name != "smidgen")
    ratio = results["smidgen"]["rate"] / best
    lines = [f"### `{net}`: {ratio:.1f} times as fast as the best other\n\n"]
    lines.append(f"{options.threads} threads, {processor()}; medians of {options.rounds} rounds of {options.seconds} s. ")
    lines.append(f"{flops / 1e6:.2f} million floating-point operations a sample; at best {peak / 1e9:.0f} thousand million in a second.\n\n")
    lines.append("| | samples a second | batch | share of the best | memory |\n|---|--:|--:|--:|--:|\n")
    for name, result in sorted(results.items(), key=lambda item: -item[1]["rate"]):
        share = 100 * result["rate"] * flops / peak
        lines.append(f"| {name} | {result['rate']:,.0f} | {result['batch']} | {share:.0f} % | {result['memory'] / 2**20:.0f} MiB |\n")
    return ratio, "".join(lines) + "\n"


def processor():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def write(sections):
    """Puts the sections of networks into the page, in the place of those that were there."""
    head, rest = PAGE.read_text().split(BEGIN)
    before, tail = rest.split(END)
    there = {net: f"### {text}" for text in before.split("### ")[1:] for net in NETS if text.startswith(f"`{net}`")}
    there.update(sections)
    PAGE.write_text(head + BEGIN + "".join(there[net] for net in NETS if net in there) + END + tail)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if options.cpu_time:
        options.threads = 1
    low = []
    for net in options.nets.split(","):
        ratio, section = table(net, *measure(net, options), options)
        print(section, file=sys.stderr)
        if not options.cpu_time:
            write({net: section})
        if ratio < NETS[net]:
            low.append(f"{net} is {ratio:.1f} times as fast as the best other, and should be {NETS[net]}")
    if low:
        print("\n".join(low), file=sys.stderr)
        sys.exit(1 if options.check else 0)


if __name__ == "__main__":
    main()
