"""Convolution by its definition, to compare the converter's arithmetic with.

PyTorch's layout: images (I, H, W), kernels (O, I/groups, k, k), padded to keep H, W.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.reparameterize import Conv

Array = NDArray[Any]


def convolve(x: Array, conv: Conv, groups: int) -> Array:
    """What a Conv does to an image, as a sum over the kernel's positions."""
    kernel = np.array(conv.kernel, np.float64)
    outputs, per_group, size, _ = kernel.shape
    height, width = x.shape[1:]
    padded = np.pad(x, [(0, 0), (size // 2, size // 2), (size // 2, size // 2)])
    result = np.zeros((outputs, height, width))
    for output in range(outputs):
        first = output // (outputs // groups) * per_group
        for channel in range(per_group):
            for i in range(size):
                for j in range(size):
                    window = padded[first + channel, i : i + height, j : j + width]
                    result[output] += kernel[output, channel, i, j] * window
    return result + np.array(conv.bias, np.float64)[:, None, None]


def per_channel(values: Any) -> Array:
    """(C,) to (C, 1, 1), to scale or shift an image."""
    return np.array(values, np.float64)[:, None, None]
