"""The runtime's layers on relaid weights, against a convolution by definition.

The reference order of channels is PyTorch's, by group.
"""

import mlx.nn as nn
import numpy as np
import pytest

from convert.layout import (
    Weights,
    dense,
    depthwise,
    grouped,
    one_after_another,
    pointwise,
)
from convert.reparameterize import Conv
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.model.vision import DepthwiseConv, GroupedConv
from tests.convert.convolution import Array, convolve

CHANNELS = 4
TOLERANCE = 1e-5


def random_conv(
    rng: np.random.Generator, outputs: int, per_group: int, size: int
) -> Conv:
    kernel = rng.normal(size=(outputs, per_group, size, size))
    bias = rng.normal(size=outputs)
    return Conv(mx.array(kernel, mx.float32), mx.array(bias, mx.float32))


def run(layer: nn.Module, weights: Weights, image: Array) -> Array:
    """A layer of the runtime on one image, (C, H, W) in and out.

    Depthwise layers leave their bias to whoever follows, so it is added here.
    """
    layer.load_weights(list(weights.items()))
    output = layer(mx.array(image.transpose(1, 2, 0)[None], mx.float32))
    joined = mx.stack(output, -1).flatten(-2) if isinstance(output, list) else output
    if isinstance(layer, DepthwiseConv | GroupedConv):
        joined = joined + layer.bias
    array: Array = np.array(joined)[0].transpose(2, 0, 1)
    return array


@pytest.fixture
def image(rng: np.random.Generator) -> Array:
    return rng.normal(size=(CHANNELS, 5, 6))


def test_dense(rng: np.random.Generator, image: Array) -> None:
    conv = random_conv(rng, 7, CHANNELS, 3)
    found = run(nn.Conv2d(CHANNELS, 7, 3, padding=1), dense(conv), image)
    expected = convolve(image, conv, groups=1)
    assert found == pytest.approx(expected, abs=TOLERANCE, rel=TOLERANCE)


@pytest.mark.parametrize("size", [3, 7])
def test_depthwise(rng: np.random.Generator, image: Array, size: int) -> None:
    conv = random_conv(rng, CHANNELS, 1, size)
    found = run(DepthwiseConv(CHANNELS, size), depthwise(conv), image)
    expected = convolve(image, conv, groups=CHANNELS)
    assert found == pytest.approx(expected, abs=TOLERANCE, rel=TOLERANCE)


@pytest.mark.parametrize("multiplier", [1, 2, 3])
def test_grouped(rng: np.random.Generator, image: Array, multiplier: int) -> None:
    """Interleaved again, as the runtime's last conv does, PyTorch's order is back."""
    conv = random_conv(rng, multiplier * CHANNELS, 1, 3)
    layer = GroupedConv(CHANNELS, multiplier, 3)
    found = run(layer, grouped(conv, multiplier), image)
    expected = convolve(image, conv, groups=CHANNELS)
    assert found == pytest.approx(expected, abs=TOLERANCE, rel=TOLERANCE)


def test_pointwise(rng: np.random.Generator, image: Array) -> None:
    conv = random_conv(rng, 7, CHANNELS, 1)
    found = run(nn.Linear(CHANNELS, 7), pointwise(conv), image)
    expected = convolve(image, conv, groups=1)
    assert found == pytest.approx(expected, abs=TOLERANCE, rel=TOLERANCE)


@pytest.mark.parametrize("multiplier", [1, 2, 3])
def test_one_after_another(
    rng: np.random.Generator, image: Array, multiplier: int
) -> None:
    """The runtime does not interleave in a downsample; bias and Linear have to know."""
    width = multiplier * CHANNELS
    first, second = random_conv(rng, width, 1, 3), random_conv(rng, 5, width, 1)
    conv = GroupedConv(CHANNELS, multiplier, 3)
    conv.load_weights(list(grouped(first, multiplier).items()))
    outputs = conv(mx.array(image.transpose(1, 2, 0)[None], mx.float32))
    bias = one_after_another(first.bias, multiplier)
    joined = np.array(mx.concatenate(outputs, axis=-1) + bias)[0].transpose(2, 0, 1)
    weights = pointwise(second)
    weights["weight"] = one_after_another(weights["weight"], multiplier)
    found = run(nn.Linear(width, 5), weights, joined)
    expected = convolve(convolve(image, first, CHANNELS), second, groups=1)
    assert found == pytest.approx(expected, abs=1e-4, rel=1e-4)
