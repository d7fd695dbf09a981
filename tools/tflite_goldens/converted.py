"""Networks that Keras describes and TensorFlow's converter writes: files as people bring them. Weights are random."""

import os
import zlib
from dataclasses import dataclass
from typing import Callable

# Keras 2: with Keras 3 the converter makes a loop of an LSTM, which TensorFlow Lite Micro can't run.
os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf

from .cases import SEED

CALIBRATION_ROWS = 32
layers = tf.keras.layers


@dataclass(frozen=True)
class Converted:
    name: str
    model: Callable
    kind: str
    rows: int = 6
    settle: Callable = lambda model, rng: settle(model, rng)

    def make(self):
        seed = zlib.crc32(self.name.rsplit("_", 1)[0].encode())
        tf.keras.backend.clear_session()
        tf.keras.utils.set_random_seed(seed)
        rng = np.random.default_rng([SEED, seed])
        model = self.model()
        shapes = [tuple(tensor.shape) for tensor in model.inputs]
        self.settle(model, rng)
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if self.kind != "f32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if self.kind == "f16":
            converter.target_spec.supported_types = [tf.float16]
        if self.kind == "i8":
            converter.representative_dataset = lambda: ([draw(rng, shape) for shape in shapes] for _ in range(CALIBRATION_ROWS))
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
        file = converter.convert()
        rows = [[self.values(rng, shape, row) for shape in shapes] for row in range(self.rows)]
        return file, rows, len(model.outputs)

    def values(self, rng, shape, row):
        if self.kind != "i8":
            return draw(rng, shape) * (3 if row == 0 else 1)
        if row < 2:
            return np.full(shape, (-128, 127)[row], np.int8)
        return np.clip(np.round(rng.standard_normal(shape) * 35), -128, 127).astype(np.int8)


def draw(rng, shape):
    return rng.standard_normal(shape).astype(np.float32)


def settle(model, rng):
    """Gives batch norms statistics and parameters that are not the initial ones."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            shape = gamma.shape
            layer.set_weights([1 + 0.2 * rng.standard_normal(shape), 0.2 * rng.standard_normal(shape), 0.2 * rng.standard_normal(shape), 0.5 + rng.random(shape)])


def image(*shape):
    return tf.keras.Input(shape, batch_size=1)


def lstm():
    x = image(12, 6)
    y = layers.LSTM(8)(layers.LSTM(10, return_sequences=True)(x))
    return tf.keras.Model(x, layers.Dense(5, activation="softmax")(y))


def residual_cnn():
    def convolve(x, channels, stride=1, activation=True):
        x = layers.BatchNormalization()(layers.Conv2D(channels, 3, strides=stride, padding="same", use_bias=False)(x))
        return layers.ReLU()(x) if activation else x

    x = image(16, 16, 3)
    y = convolve(x, 6)
    y = layers.ReLU()(layers.Add()([y, convolve(convolve(y, 6), 6, activation=False)]))
    shortcut = layers.Conv2D(8, 1, strides=2, padding="same")(y)
    y = layers.ReLU()(layers.Add()([shortcut, convolve(convolve(y, 8, stride=2), 8, activation=False)]))
    y = layers.Flatten()(layers.AveragePooling2D(8)(y))
    return tf.keras.Model(x, layers.Dense(10, activation="softmax")(y))


def mobile():
    x = image(18, 14, 3)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False)(x)))
    for stride, channels in [(1, 8), (2, 12)]:
        y = layers.ZeroPadding2D(((0, 1), (0, 1)))(y) if stride == 2 else y
        y = layers.DepthwiseConv2D(3, strides=stride, padding="valid" if stride == 2 else "same", use_bias=False)(y)
        y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
        y = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(channels, 1, use_bias=False)(y)))
    return tf.keras.Model(x, layers.Dense(4, activation="softmax")(layers.GlobalAveragePooling2D()(y)))


def u_net():
    x = image(12, 12, 1)
    first = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    second = layers.Conv2D(6, 3, padding="same", activation="relu")(layers.MaxPooling2D(2)(first))
    bottom = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.MaxPooling2D(2)(second))
    y = layers.Concatenate()([layers.Conv2DTranspose(6, 2, strides=2, padding="same")(bottom), second])
    y = layers.Conv2D(6, 3, padding="same", activation="relu")(y)
    y = layers.Concatenate()([layers.UpSampling2D(2, interpolation="bilinear")(y), first])
    return tf.keras.Model(x, layers.Conv2D(2, 1, activation="sigmoid")(y))


def activations():
    """What converters make of less usual activations."""
    x = image(6, 5, 4)
    y = layers.LeakyReLU(0.2)(layers.Conv2D(5, 3, padding="same")(x))
    y = layers.PReLU(alpha_initializer="random_uniform", shared_axes=[1, 2])(layers.DepthwiseConv2D(3, depth_multiplier=2)(y))
    y = layers.Conv2D(6, (1, 3), activation="elu")(y)
    y = layers.Dense(7, activation="tanh")(layers.Flatten()(y))
    return tf.keras.Model(x, layers.Dense(3, activation="sigmoid")(y))


def temporal():
    """Convolutions in time, dilated and causal."""
    x = image(20, 5)
    y = x
    for dilation in (1, 2, 4):
        y = layers.Conv1D(6, 3, padding="causal", dilation_rate=dilation, activation="relu")(y)
    y = layers.SeparableConv1D(8, 3, strides=2, padding="same", activation="relu")(y)
    return tf.keras.Model(x, layers.Dense(4)(layers.GlobalMaxPooling1D()(y)))


def cases():
    models = [lstm, residual_cnn, mobile, u_net, activations, temporal]
    cases = [(model, kind) for model in models for kind in ("i8", "f32")]
    return [Converted(f"keras_{model.__name__}_{kind}", model, kind) for model, kind in [*cases, (mobile, "f16")]]
