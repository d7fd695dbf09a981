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
    rates = [0.1] * 4 + [0.05] * 4 + [0.02] * 4 + [0.01] * 4 + [0.005] * 4
    sgd, adam, adam_w = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW
    rmsprop, adagrad, adadelta = torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.Adadelta
    decay = {"weight_decay": 0.05}
    cases = {
        # name: (optimizer, its options, what happens to the gradient before)
        "sgd.plain": (sgd, {}, {}),
        "sgd.momentum": (sgd, {"momentum": 0.9}, {}),
        "sgd.decay": (sgd, {"weight_decay": 0.01}, {}),
        "sgd.nesterov": (sgd, {"momentum": 0.9, "weight_decay": 0.01, "nesterov": True}, {}),
        "sgd.clip_norm": (sgd, {"momentum": 0.9}, {"clip_norm": 1.5}),
        "sgd.clip_value": (sgd, {}, {"clip_value": 0.4}),
        "sgd.l1": (sgd, {}, {"l1_penalty": 0.03}),
        "adam.plain": (adam, {}, {}),
        "adam.decay": (adam, decay, {}),
        "adam.decoupled": (adam_w, decay, {}),
        "rmsprop.plain": (rmsprop, {}, {}),
        "rmsprop.decay": (rmsprop, decay, {}),
        "rmsprop.momentum": (rmsprop, {"momentum": 0.9, "alpha": 0.9}, {}),
        "adagrad.plain": (adagrad, {}, {}),
        "adagrad.decay": (adagrad, decay, {}),
        "adadelta.plain": (adadelta, {}, {}),
        "adadelta.decay": (adadelta, decay | {"rho": 0.95}, {}),
    }
    for name, (optimizer, options, before) in cases.items():
        parameter = leaf(values(23))
        steps = optimizer([parameter], lr=1.0, **options)
        start, gradients, history = parameter.detach().clone(), [], []
        for rate in rates:
            for group in steps.param_groups:
                # Adadelta's steps are small by themselves.
                group["lr"] = rate * (10.0 if optimizer is adadelta else 1.0)
            parameter.grad = values(23)
            gradients.append(parameter.grad.clone())
            if "clip_norm" in before:
                torch.nn.utils.clip_grad_norm_([parameter], before["clip_norm"])
            if "clip_value" in before:
                torch.nn.utils.clip_grad_value_([parameter], before["clip_value"])
            if "l1_penalty" in before:
                (before["l1_penalty"] * parameter.abs().sum()).backward()
            steps.step()
            history.append(parameter.detach().clone())
        used = steps.defaults | before
        number = lambda key, default=0.0: [float(used.get(key) or default)]
        file.add(name, learning_rate=[rate * (10.0 if optimizer is adadelta else 1.0) for rate in rates], start=start,
                 gradient=torch.stack(gradients), parameter=torch.stack(history), momentum=number("momentum"),
                 weight_decay=[options.get("weight_decay", 0.0)], nesterov=[int(options.get("nesterov", False))],
                 decoupled=[int(optimizer is adam_w)], alpha=number("alpha"), rho=number("rho"), epsilon=number("eps"),
                 clip_norm=number("clip_norm"), clip_value=number("clip_value"), l1_penalty=number("l1_penalty"))
    file.save()


def schedules():
    """Learning rates of 20 steps, 5 to an epoch."""
    file, steps, per_epoch, peak = File("schedules"), 20, 5, 0.3
    schedule = torch.optim.lr_scheduler

    def after_warm_up(warm_up, follow):
        def make(optimizer):
            rise = schedule.LinearLR(optimizer, start_factor=1.0 / warm_up, total_iters=warm_up - 1)
            return schedule.SequentialLR(optimizer, [rise, follow(optimizer)], milestones=[warm_up])
        return make

    constant = lambda optimizer: schedule.ConstantLR(optimizer, factor=1.0)
    cosine = lambda length, last: lambda optimizer: schedule.CosineAnnealingLR(optimizer, T_max=length, eta_min=last)
    exponential = lambda optimizer: schedule.ExponentialLR(optimizer, gamma=0.4 ** (1 / (2 * per_epoch)))
    cases = {
        # name: (kind, warm-up in epochs, factor, epochs of the factor, first and last fraction, PyTorch's)
        "constant": ("constant", 0, 0.3, 5, 0.04, 0.0, constant),
        "constant.warm_up": ("constant", 1, 0.3, 5, 0.04, 0.0, after_warm_up(5, constant)),
        "step": ("step", 0, 0.5, 2, 0.04, 0.0, lambda optimizer: schedule.StepLR(optimizer, step_size=2 * per_epoch, gamma=0.5)),
        "exponential": ("exponential", 0, 0.4, 2, 0.04, 0.0, exponential),
        "exponential.warm_up": ("exponential", 2, 0.4, 2, 0.04, 0.0, after_warm_up(10, exponential)),
        "cosine": ("cosine", 0, 0.3, 5, 0.04, 0.125, cosine(20, peak * 0.125)),
        "cosine.warm_up": ("cosine", 1, 0.3, 5, 0.04, 0.0, after_warm_up(5, cosine(15, 0.0))),
        "cosine.cycles": ("cosine", 0, 0.3, 5, 0.04, 0.125, lambda optimizer: schedule.CosineAnnealingWarmRestarts(
            optimizer, T_0=10, eta_min=peak * 0.125)),
        "one_cycle": ("one_cycle", 1, 0.3, 5, 0.0625, 0.0009765625, lambda optimizer: schedule.OneCycleLR(
            optimizer, max_lr=peak, total_steps=steps, pct_start=0.25, div_factor=16.0, final_div_factor=64.0, cycle_momentum=False)),
    }
    kinds = ["constant", "step", "exponential", "cosine", "one_cycle"]
    for name, (kind, warm_up, factor, epochs, first, last, make) in cases.items():
        optimizer = torch.optim.SGD([leaf(values(1))], lr=peak)
        rates, plan = [], make(optimizer)
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if len(rates) < steps:
                plan.step()
        file.add(name, kind=[kinds.index(kind)], learning_rate=[peak], warm_up_epochs=[float(warm_up)], step_factor=[factor],
                 step_epochs=[float(epochs)], initial_fraction=[first], final_fraction=[last], rates=rates,
                 cycles=[2 if name == "cosine.cycles" else 1])
    file.save()


def more_losses():
    """Losses with weights, dense targets, a teacher: each over 20 random batches."""
    file, batches, classes = File("more_losses"), 20, 5

    def add(name, loss, make_input, make_targets, **numbers):
        inputs, losses, gradients, targets = [], [], [], []
        for _ in range(batches):
            x, target = leaf(make_input()), make_targets()
            value = loss(x, *target)
            value.backward()
            inputs.append(x), losses.append(value.detach()), gradients.append(x.grad), targets.append(target)
        columns = {f"target_{index}": torch.stack(column) for index, column in enumerate(zip(*targets))}
        file.add(name, input=torch.stack(inputs), loss=torch.stack(losses), grad_input=torch.stack(gradients), **columns,
                 **{key: [number] for key, number in numbers.items()})

    rows = 6
    logits = lambda: values(rows, classes, scale=3.0)
    labels = lambda: (torch.randint(classes, (rows,)),)
    probabilities = lambda: F.softmax(values(rows, classes), dim=1).float().double()
    weights = values(classes).abs().float().double() + 0.25
    for name, smoothing in [("plain", 0.0), ("smoothed", 0.1)]:
        add(f"weighted_cross_entropy.{name}", lambda x, y: F.cross_entropy(x, y, weights, reduction="sum", label_smoothing=smoothing) / rows,
            logits, labels, label_smoothing=smoothing)
        add(f"soft_cross_entropy.{name}", lambda x, y: F.cross_entropy(x, y, label_smoothing=smoothing), logits,
            lambda: (probabilities(),), label_smoothing=smoothing)
    for gamma in (0.5, 2.0):
        def focal(x, y):
            surprise = F.cross_entropy(x, y, reduction="none")
            return (weights[y] * (1 - torch.exp(-surprise)) ** gamma * surprise).mean()
        add(f"focal.{gamma}".replace(".5", "_5").replace(".0", "_0"), focal, logits, labels, gamma=gamma)
    file.add("weights", weights=weights)

    image = lambda: values(4, 2, 3, 5)
    for delta in (0.5, 1.5):
        add(f"huber.delta_{int(delta * 10)}", lambda x, y: F.huber_loss(x, y, delta=delta), image, lambda: (image(),), delta=delta)
    mask = lambda: (torch.rand(4, 2, 3, 5) > 0.5).double()
    wide_image = lambda: values(4, 2, 3, 5, scale=3.0)
    add("binary_cross_entropy.plain", F.binary_cross_entropy_with_logits, wide_image, lambda: (mask(),))

    def dice(x, y):
        p, pixels = torch.sigmoid(x), (1, 2)
        return (1 - (2 * (p * y).sum(pixels) + 1.0) / (p.sum(pixels) + y.sum(pixels) + 1.0)).mean(1).mean()
    add("dice.plain", dice, wide_image, lambda: (mask(),), smooth=1.0)

    for name, temperature, share in [("kl", 1.0, 1.0), ("kl_hot", 4.0, 1.0), ("both", 2.0, 0.75)]:
        def distill(x, hard, teacher):
            soft, taught = F.log_softmax(x / temperature, dim=1), F.log_softmax(teacher / temperature, dim=1)
            divergence = F.kl_div(soft, taught, reduction="batchmean", log_target=True)
            return (1 - share) * F.cross_entropy(x, hard) + share * temperature**2 * divergence
        add(f"distillation.{name}", distill, logits, lambda: (probabilities(), logits()), temperature=temperature, share=share)
    file.save()


def recurrent():
    """LSTM and GRU over sequences from a state of zeros: samples, steps, inputs, units."""
    file = File("recurrent")
    for kind, gates in (("lstm", 4), ("gru", 3)):
        for name, (samples, steps, inputs, units) in {"small": (1, 3, 2, 3), "wide": (3, 6, 5, 17), "one_step": (2, 1, 4, 8)}.items():
            layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[kind](inputs, units, batch_first=True)
            with torch.no_grad():
                layer.weight_ih_l0.copy_(values(gates * units, inputs, scale=0.5))
                layer.weight_hh_l0.copy_(values(gates * units, units, scale=0.5))
                layer.bias_ih_l0.copy_(values(gates * units))
                # smidgen's LSTM has one bias; a GRU's second one is not the same as the first.
                layer.bias_hh_l0.copy_(values(gates * units) * (kind == "gru"))
            x = leaf(values(samples, steps, inputs))
            y, _ = layer(x)
            grad = values(*y.shape)
            y.backward(grad)
            one = lambda tensor: tensor.detach().unsqueeze(1)
            file.add(f"{kind}.{name}", input=one(x), weights=layer.weight_ih_l0.T, recurrent=layer.weight_hh_l0.T, bias=layer.bias_ih_l0,
                     recurrent_bias=layer.bias_hh_l0, output=one(y), grad_output=one(grad), grad_input=one(x.grad),
                     grad_weights=layer.weight_ih_l0.grad.T, grad_recurrent=layer.weight_hh_l0.grad.T, grad_bias=layer.bias_ih_l0.grad,
                     grad_recurrent_bias=layer.bias_hh_l0.grad)
    file.save()


def composed():
    """Layers that smidgen makes of others, on one sample."""
    file = File("composed")
    for name, channels, make in [("layer_norm", 5, None), ("instance_norm", 4, torch.nn.InstanceNorm2d),
                                 ("group_norm", 6, lambda channels, **named: torch.nn.GroupNorm(3, channels, **named))]:
        gamma, beta, x = values(channels), values(channels), values(1, channels, 4, 3, scale=2.0) + 1.0
        if make is None:
            y = nhwc(F.layer_norm(x.permute(0, 2, 3, 1), (channels,), gamma, beta).permute(0, 3, 1, 2))
        else:
            layer = make(channels, affine=True)
            with torch.no_grad():
                layer.weight.copy_(gamma)
                layer.bias.copy_(beta)
            y = nhwc(layer(x))
        file.add(f"{name}.plain", input=nhwc(x), gamma=gamma, beta=beta, output=y)
    x = values(1, 12, 3, 2)
    file.add("channel_shuffle.plain", input=nhwc(x), output=nhwc(F.channel_shuffle(x, 3)))
    file.add("maxout.plain", input=nhwc(x), output=nhwc(x.reshape(1, 4, 3, 3, 2).amax(2)))
    file.save()


for write in (convolutions, batch_norm, pools, losses, updates, schedules, more_losses, recurrent, composed):
    write()
