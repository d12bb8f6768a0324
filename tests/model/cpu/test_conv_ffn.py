"""The CPU's ConvFFN against the plain operations, one after another."""

from unittest import mock

import mlx.nn as nn
import numpy as np
import pytest

from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.model.cpu import conv_ffn
from fastvlm_mlx.model.ops import conv_ffn as chosen


def random(*shapes: tuple[int, ...]) -> list[mx.array]:
    return [
        mx.random.normal(shape, key=mx.random.key(number))
        for number, shape in enumerate(shapes)
    ]


@pytest.mark.parametrize("shape", [(1, 8, 8, 16), (2, 5, 7, 3), (1, 100, 9, 2)])
def test_conv_ffn(shape: tuple[int, int, int, int]) -> None:
    channels = shape[-1]
    x, residual, weight = random(shape, shape, (channels, 7, 7, 1))
    first, second = random((channels, 4 * channels), (4 * channels, channels))
    conv = mx.conv2d(x, weight, 1, 3, groups=channels)
    expected = residual + mx.maximum(conv @ first, 0) @ second
    found = conv_ffn(
        x, residual, weight, lambda rows: mx.maximum(rows @ first, 0) @ second
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("bits", [None, 4])
def test_both_forms_of_the_operation_agree(bits: int | None) -> None:
    x, residual, weight = random((1, 9, 12, 32), (1, 9, 12, 32), (32, 7, 7, 1))
    fc1, fc2 = nn.Linear(32, 128), nn.Linear(128, 32)
    if bits:
        fc1, fc2 = (layer.to_quantized(32, bits) for layer in (fc1, fc2))
    arguments = x, residual, weight, fc1, fc2
    with mock.patch("fastvlm_mlx.model.ops.current", return_value="cpu"):
        found = chosen(*arguments)
    with mock.patch("fastvlm_mlx.model.ops.current", return_value="metal"):
        expected = chosen(*arguments)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
