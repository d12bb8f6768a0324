"""The few array operations that may take another form on another backend.

Shapes: B batch, H and W pixels, C channels, k kernel side.
"""

import math

from .backend import mx


def depthwise_conv(
    x: mx.array, weight: mx.array, bias: mx.array, stride: int = 1
) -> mx.array:
    """Convolve each channel with its own kernel, "same" padding.

    Args:
        x: (B, H, W, C).
        weight: (C, k, k, 1), k odd.
        bias: (C,).
        stride: 1 or 2.

    Returns:
        (B, H/stride, W/stride, C).
    """
    channels, kernel = weight.shape[0], weight.shape[1]
    padding = kernel // 2
    return mx.conv2d(x, weight, stride, padding, groups=channels) + bias


def gelu(x: mx.array) -> mx.array:
    """The exact GELU, x·Φ(x), as in every layer of FastVLM (`nn.GELU()`)."""
    return x * (1 + mx.erf(x * math.sqrt(0.5))) * 0.5
