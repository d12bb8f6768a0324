"""From PyTorch's axes to the runtime's: pure functions on arrays.

PyTorch stores a conv as (O, I/groups, kH, kW); MLX wants (O, kH, kW, I/groups).
"""

from fastvlm_mlx.backend import mx

from .reparameterize import Conv

Weights = dict[str, mx.array]


def dense(conv: Conv) -> Weights:
    """An ordinary conv: weight (O, k, k, I)."""
    return {"weight": conv.kernel.transpose(0, 2, 3, 1), "bias": conv.bias}


def depthwise(conv: Conv) -> Weights:
    """One output per channel: weight (C, k, k, 1)."""
    return dense(conv)


def grouped(conv: Conv, multiplier: int) -> Weights:
    """Several outputs per channel: weight (multiplier, C, k, k, 1).

    PyTorch orders outputs by group: channel c owns outputs c·m … c·m + m - 1. The
    runtime computes output 0 of every channel, then output 1 of every channel.
    """
    weight = conv.kernel.transpose(0, 2, 3, 1)  # (C·m, k, k, 1)
    weight = weight.reshape(-1, multiplier, *weight.shape[1:])  # (C, m, k, k, 1)
    return {
        "weight": weight.swapaxes(0, 1),
        "bias": conv.bias.reshape(-1, multiplier).T,
    }


def pointwise(conv: Conv) -> Weights:
    """A 1x1 conv is a Linear: weight (O, I)."""
    return {"weight": conv.kernel.squeeze((2, 3)), "bias": conv.bias}


def after_grouped(weights: Weights, multiplier: int) -> Weights:
    """Permute the inputs of a Linear that reads the runtime's order of `grouped`."""
    outputs = weights["weight"].shape[0]
    weight = weights["weight"].reshape(outputs, -1, multiplier)  # (O, C, m)
    return {**weights, "weight": weight.swapaxes(1, 2).flatten(1)}
