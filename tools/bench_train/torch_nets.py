"""The networks of `host-trainer/src/graph/nets.rs` in PyTorch, and a training step of each.

Started by `tools/bench_train.py`: `torch_nets.py MODE NET THREADS BATCHES...` prints "ready", then answers each line "BATCH SECONDS" on stdin with
"SAMPLES_PER_SECOND SAMPLES_PER_CPU_SECOND PEAK_RSS_BYTES" on stdout. MODE is eager, channels-last or compiled.
"""

import resource
import sys
import time

import torch
from torch import nn
from torch.nn import functional


class Same(nn.Module):
    """TensorFlow's SAME padding: the smaller half first."""

    def __init__(self, size, kernel, stride):
        super().__init__()
        pads = []
        for length, taps in zip(reversed(size), reversed(kernel)):
            total = max((-(-length // stride) - 1) * stride + taps - length, 0)
            pads += [total // 2, total - total // 2]
        self.pads = pads

    def forward(self, x):
        return functional.pad(x, self.pads)


class Builder:
    def __init__(self, size, channels):
        self.size, self.channels, self.layers = size, channels, []

    def conv(self, filters, kernel, stride=1, depthwise=False, relu=True):
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        same = Same(self.size, kernel, stride)
        symmetric = same.pads[0] == same.pads[1] and same.pads[2] == same.pads[3]
        padding = (same.pads[2], same.pads[0]) if symmetric else 0
        if not symmetric:
            self.layers.append(same)
        groups = self.channels if depthwise else 1
        conv = nn.Conv2d(self.channels, filters, kernel, stride, padding, groups=groups, bias=False)
        self.layers += [conv, nn.BatchNorm2d(filters)] + ([nn.ReLU(inplace=True)] if relu else [])
        self.size, self.channels = [-(-length // stride) for length in self.size], filters
        return self

    def separable(self, filters, stride=1):
        return self.conv(self.channels, 3, stride, depthwise=True).conv(filters, 1)

    def classify(self, classes):
        self.layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(self.channels, classes)]
        return nn.Sequential(*self.layers)


class Residual(nn.Module):
    def __init__(self, size, channels, filters, stride):
        super().__init__()
        self.main = nn.Sequential(*Builder(size, channels).conv(filters, 3, stride).conv(filters, 3, relu=False).layers)
        self.skip = nn.Conv2d(channels, filters, 1, stride, bias=False) if stride > 1 else nn.Identity()

    def forward(self, x):
        return functional.relu(self.main(x) + self.skip(x))


def network(name):
    """The network and the shape of a sample."""
    if name == "mnist_ds_cnn":
        builder = Builder([28, 28], 1).conv(8, 3, 2).separable(16).separable(32, 2).separable(32)
        return builder.classify(10), (1, 28, 28)
    if name == "ds_cnn":
        builder = Builder([49, 10], 1).conv(64, (10, 4), 2)
        for _ in range(4):
            builder.separable(64)
        return builder.classify(12), (1, 49, 10)
    if name == "mobilenet_v1_025":
        builder = Builder([96, 96], 3).conv(8, 3, 2)
        for filters, stride in [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)] + 5 * [(128, 1)] + [(256, 2), (256, 1)]:
            builder.separable(filters, stride)
        return builder.classify(2), (3, 96, 96)
    if name == "resnet8":
        first = Builder([32, 32], 3).conv(16, 3).layers
        blocks = [Residual([32, 32], 16, 16, 1), Residual([32, 32], 16, 32, 2), Residual([16, 16], 32, 64, 2)]
        return nn.Sequential(*first, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)), (3, 32, 32)
    if name == "autoencoder":
        layers, inputs = [], 640
        for units in [128, 128, 128, 128, 8, 128, 128, 128, 128]:
            layers += [nn.Linear(inputs, units, bias=False), nn.BatchNorm1d(units), nn.ReLU(inplace=True)]
            inputs = units
        return nn.Sequential(*layers, nn.Linear(inputs, 640)), (640,)
    sys.exit(f"no network {name}")


def main():
    mode, name, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    model, shape = network(name)
    model.train()
    classes = 0 if name == "autoencoder" else model[-1].out_features
    channels_last = mode != "eager" and len(shape) == 3
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001, fused=True)

    def loss_of(x, y):
        out = model(x)
        return functional.cross_entropy(out, y) if classes else functional.mse_loss(out, y)

    if mode == "compiled":
        loss_of = torch.compile(loss_of)
    samples = {}
    for batch in map(int, sys.argv[4:]):
        x = torch.rand(batch, *shape) * 2 - 1
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        samples[batch] = (x, torch.arange(batch) % classes if classes else x)

    def step(batch):
        optimizer.zero_grad(set_to_none=True)
        loss_of(*samples[batch]).backward()
        optimizer.step()

    for batch in samples:
        for _ in range(3):
            step(batch)
    print("ready", flush=True)
    for line in sys.stdin:
        batch, seconds = int(line.split()[0]), float(line.split()[1])
        step(batch)
        cpu, begin, steps = time.process_time(), time.perf_counter(), 0
        while time.perf_counter() - begin < seconds:
            step(batch)
            steps += 1
        done = steps * batch
        rates = done / (time.perf_counter() - begin), done / (time.process_time() - cpu)
        print(*rates, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, flush=True)


main()
