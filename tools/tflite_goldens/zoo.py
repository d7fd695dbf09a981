"""The reference networks of the field, by their published shapes, with random weights: MLPerf Tiny's image networks and wake word, and an LSTM that reads digits by rows.

Their sizes are the real ones, so that they serve as benchmarks too. Shapes: https://github.com/mlcommons/tiny (benchmark/training), and for the LSTM
tensorflow/lite/micro/examples/mnist_lstm in TensorFlow Lite Micro. Keyword spotting and the autoencoder of MLPerf Tiny are tested with their real weights.
"""

from .converted import Converted, draw, image, layers, tf

ROWS = 4


def normalized(x, layer, activation=True):
    x = layers.BatchNormalization(momentum=0.0)(layer(x))
    return layers.ReLU()(x) if activation else x


def resnet8():
    def convolve(x, channels, stride=1, activation=True):
        return normalized(x, layers.Conv2D(channels, 3, strides=stride, padding="same"), activation)

    x = image(32, 32, 3)
    y = convolve(x, 16)
    for channels, stride in [(16, 1), (32, 2), (64, 2)]:
        shortcut = y if stride == 1 else layers.Conv2D(channels, 1, strides=stride, padding="same")(y)
        y = convolve(convolve(y, channels, stride), channels, activation=False)
        y = layers.ReLU()(layers.Add()([shortcut, y]))
    y = layers.Flatten()(layers.AveragePooling2D(8)(y))
    return tf.keras.Model(x, layers.Dense(10, activation="softmax")(y))


def mobilenet_v1_025():
    x = image(96, 96, 3)
    y = normalized(x, layers.Conv2D(8, 3, strides=2, padding="same"))
    channels = 8
    for stride, channels in [(1, 16), (2, 32), (1, 32), (2, 64), (1, 64), (2, 128), *[(1, 128)] * 5, (2, 256), (1, 256)]:
        y = normalized(y, layers.DepthwiseConv2D(3, strides=stride, padding="same"))
        y = normalized(y, layers.Conv2D(channels, 1))
    y = layers.Flatten()(layers.AveragePooling2D(3)(y))
    return tf.keras.Model(x, layers.Dense(2, activation="softmax")(y))


def wake_word():
    """The streaming wake word of MLPerf Tiny: separable convolutions along time over 30 frames of 40 features."""
    x = image(30, 1, 40)
    y = x
    for kernel, channels in [(3, 128), (5, 128), (7, 128), (9, 32)]:
        y = layers.DepthwiseConv2D((kernel, 1), use_bias=False)(y)
        y = normalized(y, layers.Conv2D(channels, 1, use_bias=False))
    y = layers.Flatten()(layers.AveragePooling2D((int(y.shape[1]), 1))(y))
    return tf.keras.Model(x, layers.Dense(3, activation="softmax")(y))


def mnist_lstm():
    x = image(28, 28)
    return tf.keras.Model(x, layers.Dense(10, activation="softmax")(layers.Flatten()(layers.LSTM(20, return_sequences=True)(x))))


def standardize(model, rng):
    """Gives batch norms the statistics of a few random inputs: through a deep network, random statistics would leave nothing of what its input is."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights([1 + 0.2 * rng.standard_normal(gamma.shape), 0.3 * rng.standard_normal(beta.shape), mean, variance])
    many = tf.keras.models.clone_model(model, [tf.keras.Input(tensor.shape[1:]) for tensor in model.inputs])
    many.set_weights(model.get_weights())
    many([draw(rng, (32, *tensor.shape[1:])) for tensor in model.inputs], training=True)
    model.set_weights(many.get_weights())


def cases():
    models = [(resnet8, "i8"), (mobilenet_v1_025, "i8"), (wake_word, "i8"), (mnist_lstm, "i8"), (mnist_lstm, "f32")]
    return [Converted(f"zoo_{model.__name__}_{kind}", model, kind, ROWS, standardize) for model, kind in models]
