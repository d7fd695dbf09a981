"""Writes the PyTorch goldens: inputs, outputs and gradients of each operator, in smidgen's layouts.

    python -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python generate.py

Everything is computed in float64 on the CPU from inputs that float32 can hold, and rounded to float32 when it is written, so that
a golden is off by half a unit in the last place of float32 and a difference is smidgen's own. A file holds several cases; the tensor
`case.name` belongs to `case`. Activations are written as `[N, H, W, C]`, filters as `[K_h, K_w, C_in, C_out]`, depthwise filters as
`[1, K_h, K_w, C_out]`, windows as smidgen's ten attributes.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

SEED = 20240229
HERE = Path(__file__).parent

torch.manual_seed(SEED)
torch.set_default_dtype(torch.float64)
torch.use_deterministic_algorithms(True)


def values(*shape, scale=1.0):
    """Normal values that float32 holds exactly."""
    return (torch.randn(*shape) * scale).float().double()


def leaf(tensor):
    return tensor.clone().requires_grad_()


def nhwc(tensor):
    return tensor.detach().permute(0, 2, 3, 1)


def hwio(tensor):
    return tensor.detach().permute(2, 3, 1, 0)


def depthwise(tensor):
    """[C_out, 1, K_h, K_w] to [1, K_h, K_w, C_out]."""
    return tensor.detach().permute(1, 2, 3, 0)


class File:
    """The tensors of one .safetensors file."""

    def __init__(self, name):
        self.name, self.tensors = name, {}

    def add(self, case, **tensors):
        for name, tensor in tensors.items():
            tensor = tensor.detach() if torch.is_tensor(tensor) else torch.tensor(tensor)
            kind = torch.float32 if tensor.is_floating_point() else torch.int32
            self.tensors[f"{case}.{name}"] = tensor.to(kind).contiguous().clone()

    def save(self):
        path = HERE / f"{self.name}.safetensors"
        # One entry: several would come in a random order.
        save_file(self.tensors, path, metadata={"generator": f"torch {torch.__version__}, seed {SEED}"})
        path.chmod(0o644)


def window(kernel, stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1)):
    """smidgen's attributes; padding is top, bottom, left, right."""
    return [*kernel, *stride, *padding, *dilation]


def convolutions():
    file = File("convolutions")
    cases = {
        # name: (input NCHW, C_out, groups, kernel, stride, padding, dilation)
        "conv_2d.plain": ((2, 3, 5, 6), 4, 1, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
        "conv_2d.stride": ((2, 3, 8, 7), 5, 1, (3, 2), (2, 3), (0, 1, 0, 1), (1, 1)),
        "conv_2d.dilation": ((1, 4, 9, 8), 3, 1, (3, 3), (1, 2), (2, 2, 1, 2), (2, 3)),
        "conv_2d.pointwise": ((2, 8, 3, 3), 17, 1, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
        "depthwise_conv_2d.plain": ((2, 6, 5, 4), 6, 6, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
        "depthwise_conv_2d.multiplier": ((1, 3, 6, 6), 6, 3, (3, 2), (2, 1), (0, 1, 1, 0), (1, 2)),
    }
    for name, (shape, c_out, groups, kernel, stride, padding, dilation) in cases.items():
        top, bottom, left, right = padding
        x, filter, bias = leaf(values(*shape)), leaf(values(c_out, shape[1] // groups, *kernel, scale=0.5)), leaf(values(c_out))
        y = F.conv2d(F.pad(x, (left, right, top, bottom)), filter, bias, stride=stride, dilation=dilation, groups=groups)
        grad = values(*y.shape)
        y.backward(grad)
        layout = hwio if groups == 1 else depthwise
        file.add(name, window=window(kernel, stride, padding, dilation), input=nhwc(x), filter=layout(filter), bias=bias, output=nhwc(y),
                 grad_output=nhwc(grad), grad_input=nhwc(x.grad), grad_weights=layout(filter.grad), grad_bias=bias.grad)

    x, weights, bias = leaf(values(3, 20)), leaf(values(10, 20, scale=0.5)), leaf(values(10))
    y = F.linear(x, weights, bias)
    grad = values(*y.shape)
    y.backward(grad)
    file.add("fully_connected.plain", input=x, filter=weights.T, bias=bias, output=y, grad_output=grad, grad_input=x.grad,
             grad_weights=weights.grad.T, grad_bias=bias.grad)
    file.save()


def batch_norm():
    file = File("batch_norm")
    for name, activation, shape in [("none", lambda y: y, (8, 5, 3, 4)), ("relu", F.relu, (8, 9, 2, 3))]:
        channels, epsilon, momentum = shape[1], 1e-3, 0.1
        layer = torch.nn.BatchNorm2d(channels, eps=epsilon, momentum=momentum)
        with torch.no_grad():
            layer.weight.copy_(values(channels))
            layer.bias.copy_(values(channels))
            layer.running_mean.copy_(values(channels))
            layer.running_var.copy_(values(channels).abs() + 0.5)
        table = lambda top, bottom: torch.stack([top.detach(), bottom.detach()]).clone()
        before = table(layer.running_mean, layer.running_var)
        x = leaf(values(*shape, scale=2.0) + 1.0)
        with torch.no_grad():
            x.copy_(x.float().double())
        y = activation(layer(x))
        grad = values(*y.shape)
        y.backward(grad)
        after = table(layer.running_mean, layer.running_var)
        layer.eval()
        file.add(name, epsilon=[epsilon], momentum=[momentum], input=nhwc(x), parameters=table(layer.weight, layer.bias), running=before,
                 output=nhwc(y), new_running=after, grad_output=nhwc(grad), grad_input=nhwc(x.grad),
                 sums=table(layer.weight.grad, layer.bias.grad), inference=nhwc(activation(layer(x))))
    file.save()


def pools():
    file = File("pools")
    cases = {
        "max_pool_2d.plain": ((2, 3, 6, 4), (2, 2), (2, 2), 0, (1, 1)),
        "max_pool_2d.overlap": ((2, 3, 7, 6), (3, 3), (2, 1), 1, (1, 1)),
        "max_pool_2d.dilation": ((1, 2, 8, 9), (3, 2), (1, 2), 1, (2, 3)),
        "average_pool_2d.plain": ((2, 3, 6, 4), (2, 2), (2, 2), 0, None),
        "average_pool_2d.overlap": ((2, 3, 7, 6), (3, 3), (2, 1), 1, None),
        "average_pool_2d.global": ((2, 5, 5, 3), (5, 3), (1, 1), 0, None),
    }
    for name, (shape, kernel, stride, padding, dilation) in cases.items():
        x = leaf(values(*shape))
        if dilation:
            y = F.max_pool2d(x, kernel, stride, padding, dilation)
        else:
            y = F.avg_pool2d(x, kernel, stride, padding, count_include_pad=False)
        grad = values(*y.shape)
        y.backward(grad)
        file.add(name, window=window(kernel, stride, [padding] * 4, dilation or (1, 1)), input=nhwc(x), output=nhwc(y),
                 grad_output=nhwc(grad), grad_input=nhwc(x.grad))
    file.save()


def losses():
    file = File("losses")
    for name, smoothing in [("plain", 0.0), ("smoothed", 0.1)]:
        logits, labels = leaf(values(6, 10, scale=4.0)), torch.randint(10, (6,))
        loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        loss.backward()
        correct = (logits.argmax(dim=1) == labels).sum().double()
        file.add(f"softmax_cross_entropy.{name}", label_smoothing=[smoothing], input=logits, labels=labels, loss=loss.reshape(1),
                 correct=correct.reshape(1), grad_input=logits.grad)

    prediction, target = leaf(values(4, 3, 2, 5)), values(4, 3, 2, 5)
    loss = F.mse_loss(prediction, target)
    loss.backward()
    file.add("mean_squared_error.plain", input=prediction, target=target, loss=loss.reshape(1), grad_input=prediction.grad)

    x = leaf(values(3, 7, scale=3.0))
    y = F.softmax(x, dim=1)
    grad = values(*y.shape)
    y.backward(grad)
    file.add("softmax.plain", input=x, output=y, grad_output=grad, grad_input=x.grad)
    file.save()


def updates():
    file = File("updates")
    rates = [0.1, 0.1, 0.05, 0.05, 0.02, 0.01, 0.01, 0.005]
    sgd = {"plain": {}, "momentum": {"momentum": 0.9}, "decay": {"weight_decay": 0.01},
           "nesterov": {"momentum": 0.9, "weight_decay": 0.01, "nesterov": True}}
    adam = {"adam.plain": (torch.optim.Adam, {}), "adam.decay": (torch.optim.Adam, {"weight_decay": 0.05}),
            "adam.decoupled": (torch.optim.AdamW, {"weight_decay": 0.05})}
    cases = {f"sgd.{name}": (torch.optim.SGD, options) for name, options in sgd.items()} | adam
    for name, (optimizer, options) in cases.items():
        parameter = leaf(values(23))
        steps = optimizer([parameter], lr=1.0, **options)
        start, gradients, history = parameter.detach().clone(), [], []
        for rate in rates:
            steps.param_groups[0]["lr"] = rate
            parameter.grad = values(23)
            gradients.append(parameter.grad.clone())
            steps.step()
            history.append(parameter.detach().clone())
        file.add(name, learning_rate=rates, start=start, gradient=torch.stack(gradients), parameter=torch.stack(history),
                 momentum=[options.get("momentum", 0.0)], weight_decay=[options.get("weight_decay", 0.0)],
                 nesterov=[int(options.get("nesterov", False))], decoupled=[int(optimizer is torch.optim.AdamW)])
    file.save()


for write in (convolutions, batch_norm, pools, losses, updates):
    write()
