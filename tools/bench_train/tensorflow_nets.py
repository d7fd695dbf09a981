"""The networks of `host-trainer/src/graph/nets.rs` in TensorFlow, and a training step of each.

Started by `tools/bench_train.py`: `tensorflow_nets.py MODE NET THREADS BATCHES...` prints "ready", then answers each line "BATCH SECONDS" on stdin with
"SAMPLES_PER_SECOND SAMPLES_PER_CPU_SECOND PEAK_RSS_BYTES" on stdout. MODE is graph (a step is a graph) or loop (ten steps are).
"""

import resource
import sys
import time

import tensorflow as tf

EPSILON, MOMENTUM = 1e-3, 0.99
BETA_1, BETA_2, ADAM_EPSILON, RATE = 0.9, 0.999, 1e-8, 0.001


class Net:
    """Variables and the layers that use them; plain operations, without Keras's bookkeeping in a step."""

    def __init__(self):
        self.variables, self.running, self.made, self.next = [], [], False, 0

    def begin(self):
        self.next = 0
        self.next_running = 0

    def variable(self, make):
        if not self.made:
            self.variables.append(tf.Variable(make()))
        self.next += 1
        return self.variables[self.next - 1]

    def norm(self, x, relu=True):
        channels = x.shape[-1]
        gamma, beta = self.variable(lambda: tf.ones(channels)), self.variable(lambda: tf.zeros(channels))
        if not self.made:
            self.running.append((tf.Variable(tf.zeros(channels)), tf.Variable(tf.ones(channels))))
        mean, variance = self.running[self.next_running]
        self.next_running += 1
        if x.shape.rank == 4:
            y, batch_mean, batch_variance, *_ = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, epsilon=EPSILON, is_training=True)
        else:
            batch_mean, batch_variance = tf.nn.moments(x, [0])
            y = tf.nn.batch_normalization(x, batch_mean, batch_variance, beta, gamma, EPSILON)
        mean.assign_sub((mean - batch_mean) * (1 - MOMENTUM))
        variance.assign_sub((variance - batch_variance) * (1 - MOMENTUM))
        return tf.nn.relu(y) if relu else y

    def weights(self, shape, inputs):
        return self.variable(lambda: tf.random.normal(shape, stddev=(2.0 / inputs) ** 0.5, seed=1))

    def conv(self, x, filters, kernel, stride=1, relu=True, norm=True):
        kernel = [kernel, kernel] if isinstance(kernel, int) else list(kernel)
        channels = x.shape[-1]
        weights = self.weights([*kernel, channels, filters], kernel[0] * kernel[1] * channels)
        y = tf.nn.conv2d(x, weights, stride, "SAME")
        return self.norm(y, relu) if norm else y

    def separable(self, x, filters, stride=1):
        channels = x.shape[-1]
        weights = self.weights([3, 3, channels, 1], 9)
        x = self.norm(tf.nn.depthwise_conv2d(x, weights, [1, stride, stride, 1], "SAME"))
        return self.conv(x, filters, 1)

    def dense(self, x, units, bias):
        y = x @ self.weights([x.shape[-1], units], x.shape[-1])
        return y + self.variable(lambda: tf.zeros(units)) if bias else y

    def residual(self, x, filters, stride):
        y = self.conv(self.conv(x, filters, 3, stride), filters, 3, relu=False)
        return tf.nn.relu(y + (self.conv(x, filters, 1, stride, norm=False) if stride > 1 else x))


def forward(net, name, x):
    net.begin()
    if name == "autoencoder":
        for units in [128, 128, 128, 128, 8, 128, 128, 128, 128]:
            x = net.norm(net.dense(x, units, bias=False))
        return net.dense(x, 640, bias=True)
    if name == "mnist_ds_cnn":
        x, classes = net.conv(x, 8, 3, 2), 10
        for filters, stride in [(16, 1), (32, 2), (32, 1)]:
            x = net.separable(x, filters, stride)
    elif name == "ds_cnn":
        x, classes = net.conv(x, 64, (10, 4), 2), 12
        for _ in range(4):
            x = net.separable(x, 64)
    elif name == "mobilenet_v1_025":
        x, classes = net.conv(x, 8, 3, 2), 2
        for filters, stride in [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)] + 5 * [(128, 1)] + [(256, 2), (256, 1)]:
            x = net.separable(x, filters, stride)
    elif name == "resnet8":
        x, classes = net.conv(x, 16, 3), 10
        for filters, stride in [(16, 1), (32, 2), (64, 2)]:
            x = net.residual(x, filters, stride)
    else:
        sys.exit(f"no network {name}")
    return net.dense(tf.reduce_mean(x, [1, 2]), classes, bias=True)


SHAPES = {
    "mnist_ds_cnn": [28, 28, 1],
    "ds_cnn": [49, 10, 1],
    "mobilenet_v1_025": [96, 96, 3],
    "resnet8": [32, 32, 3],
    "autoencoder": [640],
}


def main():
    mode, name, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    net = Net()
    shape = SHAPES[name]
    logits = forward(net, name, tf.zeros([2, *shape]))
    net.made = True
    moments = [(tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v))) for v in net.variables]
    count = tf.Variable(0.0)

    def step(x, y):
        with tf.GradientTape() as tape:
            out = forward(net, name, x)
            if name == "autoencoder":
                loss = tf.reduce_mean(tf.math.squared_difference(out, y))
            else:
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, out))
        count.assign_add(1.0)
        for v, g, (m1, m2) in zip(net.variables, tape.gradient(loss, net.variables), moments):
            tf.raw_ops.ResourceApplyAdam(
                var=v.handle, m=m1.handle, v=m2.handle, beta1_power=BETA_1**count, beta2_power=BETA_2**count,
                lr=RATE, beta1=BETA_1, beta2=BETA_2, epsilon=ADAM_EPSILON, grad=g, use_locking=False, use_nesterov=False,
            )
        return loss

    steps_at_once = 10 if mode == "loop" else 1

    @tf.function
    def run(x, y):
        for _ in tf.range(steps_at_once):
            step(x, y)

    samples = {}
    for batch in map(int, sys.argv[4:]):
        x = tf.random.uniform([batch, *shape], -1, 1, seed=1)
        samples[batch] = (x, x if name == "autoencoder" else tf.range(batch) % logits.shape[-1])
        for _ in range(3):
            run(*samples[batch])
    print("ready", flush=True)
    for line in sys.stdin:
        batch, seconds = int(line.split()[0]), float(line.split()[1])
        run(*samples[batch])
        cpu, begin, steps = time.process_time(), time.perf_counter(), 0
        while time.perf_counter() - begin < seconds:
            run(*samples[batch])
            count.numpy()
            steps += steps_at_once
        done = steps * batch
        rates = done / (time.perf_counter() - begin), done / (time.process_time() - cpu)
        print(*rates, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, flush=True)


main()
