"""The few array operations that may take another form on another backend.

Elementwise chains are compiled, so that each is one pass over memory. A bias is never
added alone where an activation or a residual follows: it joins that pass.

Shapes: B batch, H and W pixels, C and D channels, k kernel side, T rows of tokens.
"""

import math
from collections.abc import Callable
from functools import partial

import mlx.nn as nn

from ..device.backend import current, mx
from . import cpu as cpu_forms


def depthwise_conv(x: mx.array, weight: mx.array, stride: int = 1) -> mx.array:
    """Convolve each channel with its own kernel, "same" padding, no bias.

    Args:
        x: (B, H, W, C).
        weight: (C, k, k, 1), k odd.
        stride: 1 or 2.

    Returns:
        (B, H/stride, W/stride, C).
    """
    if _prefers_cpu_forms(x):
        return cpu_forms.depthwise_conv(x, weight, stride)
    channels, kernel = weight.shape[0], weight.shape[1]
    return mx.conv2d(x, weight, stride, kernel // 2, groups=channels)


def conv_ffn(
    x: mx.array, residual: mx.array, weight: mx.array, fc1: nn.Module, fc2: nn.Module
) -> mx.array:
    """residual + fc2(gelu(fc1(conv(x)))); the conv depthwise, without bias.

    Args:
        x: (B, H, W, C), as is `residual`, which has the bias of `fc2` in it already.
        weight: of the conv, (C, k, k, 1), k odd.

    Returns:
        (B, H, W, C).
    """

    def hidden(rows: mx.array) -> mx.array:
        return bias_gelu(matmul(rows, fc1), fc1.bias)  # (T, 4C)

    if _prefers_cpu_forms(x):
        return cpu_forms.conv_ffn(
            x, residual, weight, lambda rows: matmul(hidden(rows), fc2)
        )
    channels = x.shape[-1]
    tokens = depthwise_conv(x, weight).reshape(-1, channels)  # (T, C)
    mixed = add_matmul(residual.reshape(-1, channels), hidden(tokens), fc2)
    return mixed.reshape(x.shape)


def attention(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
    """softmax(q kᵀ) v, unmasked and unscaled: each (B, heads, N, D) -> the same."""
    if _prefers_cpu_forms(q):
        return cpu_forms.attention(q, k, v)
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=1.0)


def matmul(x: mx.array, layer: nn.Module) -> mx.array:
    """A Linear without its bias, packed or not: (T, C) -> (T, D)."""
    if isinstance(layer, nn.QuantizedLinear):
        return packed_matmul(x, layer)
    product: mx.array = x @ _transposed(layer)
    return product


def packed_matmul(x: mx.array, layer: nn.Module) -> mx.array:
    """x times the transposed weight of a packed layer: (..., C) -> (..., D)."""
    cpu = _prefers_cpu_forms(x)
    product = cpu_forms.packed_matmul if cpu else mx.quantized_matmul
    return product(
        x,
        layer.weight,
        layer.scales,
        layer.get("biases"),
        group_size=layer.group_size,
        bits=layer.bits,
        mode=layer.mode,
    )


def add_matmul(residual: mx.array, x: mx.array, layer: nn.Module) -> mx.array:
    """residual + a Linear without its bias, in one kernel: (T, D)."""
    if isinstance(layer, nn.QuantizedLinear):
        return residual + matmul(x, layer)
    return mx.addmm(residual, x, _transposed(layer))


def _transposed(layer: nn.Module) -> mx.array:
    """(in, out); the tower's Linear keeps that view, one made dense does not."""
    view: mx.array | None = getattr(layer, "transposed", None)
    return layer.weight.T if view is None else view


def gelu(x: mx.array) -> mx.array:
    """The exact GELU, x·Φ(x), as in every layer of FastVLM (`nn.GELU()`)."""
    return _activations(x).gelu(x)


def bias_gelu(x: mx.array, bias: mx.array) -> mx.array:
    """gelu(x + bias)."""
    return _activations(x).bias_gelu(x, bias)


def gate_gelu(x: mx.array, bias: mx.array, gate: mx.array) -> mx.array:
    """gelu((x + bias) · sigmoid(gate))."""
    return _activations(x).gate_gelu(x, bias, gate)


@partial(mx.compile, shapeless=True)
def add_bias(x: mx.array, bias: mx.array) -> mx.array:
    """x + bias."""
    return x + bias


@partial(mx.compile, shapeless=True)
def add_biases(
    x: mx.array, first: mx.array, second: mx.array
) -> tuple[mx.array, mx.array]:
    """x + first, and x + first + second, in one pass that reads x once."""
    biased = x + first
    return biased, biased + second


class _Activations:
    """GELU and its company, compiled around one form of GELU."""

    def __init__(self, gelu: Callable[[mx.array], mx.array]) -> None:
        compiled = partial(mx.compile, shapeless=True)
        self.gelu = compiled(gelu)
        self.bias_gelu = compiled(lambda x, bias: gelu(x + bias))
        self.gate_gelu = compiled(
            lambda x, bias, gate: gelu((x + bias) * mx.sigmoid(gate))
        )


_ANYWHERE = _Activations(lambda x: x * (1 + mx.erf(x * math.sqrt(0.5))) * 0.5)
_ON_CPU = _Activations(cpu_forms.gelu)


def _activations(x: mx.array) -> _Activations:
    return _ON_CPU if _prefers_cpu_forms(x) else _ANYWHERE


def _prefers_cpu_forms(x: mx.array) -> bool:
    """Half precision gains nothing on the CPU, where it has no BLAS either."""
    return current() == "cpu" and x.dtype == mx.float32
