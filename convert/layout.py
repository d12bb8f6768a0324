"""From PyTorch's axes to the runtime's, and back: pure functions on arrays.

PyTorch stores a conv as (O, I/groups, kH, kW); MLX wants (O, kH, kW, I/groups).
"""

from fastvlm_mlx.device.backend import mx

from .reparameterize import Conv

Weights = dict[str, mx.array]


def torch_axes(array: mx.array) -> mx.array:
    """What mlx-vlm stored, as PyTorch has it: convs and layer scales; else the same."""
    if array.ndim == 4:
        return array.transpose(0, 3, 1, 2)
    return array.transpose(2, 0, 1) if array.ndim == 3 else array


def dense(conv: Conv) -> Weights:
    """An ordinary conv: weight (O, k, k, I)."""
    return {"weight": conv.kernel.transpose(0, 2, 3, 1), "bias": conv.bias}


def depthwise(conv: Conv) -> Weights:
    """One output per channel: weight (C, k, k, 1)."""
    return dense(conv)


def grouped(conv: Conv, multiplier: int) -> Weights:
    """Several outputs per channel: weight.0, weight.1, … each (C, k, k, 1).

    PyTorch orders outputs by group: channel c owns outputs c·m … c·m + m - 1. The
    runtime computes output 0 of every channel, then output 1 of every channel. The
    bias keeps PyTorch's order.
    """
    weight = conv.kernel.transpose(0, 2, 3, 1)  # (C·m, k, k, 1)
    return {
        **{
            f"weight.{number}": weight[number::multiplier]
            for number in range(multiplier)
        },
        "bias": conv.bias,
    }


def pointwise(conv: Conv) -> Weights:
    """A 1x1 conv is a Linear: weight (O, I)."""
    return {"weight": conv.kernel.squeeze((2, 3)), "bias": conv.bias}


def one_after_another(array: mx.array, multiplier: int) -> mx.array:
    """Permute the last axis from PyTorch's order of `grouped` to the runtime's."""
    apart = array.reshape(*array.shape[:-1], -1, multiplier)  # (…, C, m)
    return apart.swapaxes(-1, -2).flatten(-2)


def interleaved(array: mx.array, multiplier: int) -> mx.array:
    """The opposite of `one_after_another`."""
    apart = array.reshape(*array.shape[:-1], multiplier, -1)  # (…, m, C)
    return apart.swapaxes(-1, -2).flatten(-2)


def convolution(weight: mx.array) -> mx.array:
    """The weight of a Linear as that of a 1x1 conv (O, 1, 1, I); a conv's unchanged."""
    return weight[:, None, None, :] if weight.ndim == 2 else weight
