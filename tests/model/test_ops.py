"""The array operations against the plainest NumPy that says the same."""

import math
from typing import Any

import mlx.nn as nn
import numpy as np
import pytest
from numpy.typing import NDArray

from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.model.ops import (
    add_bias,
    add_biases,
    add_matmul,
    bias_gelu,
    depthwise_conv,
    gate_gelu,
    gelu,
    matmul,
)
from fastvlm_mlx.model.vision import Linear

Array = NDArray[Any]


def naive_depthwise(x: Array, weight: Array, stride: int) -> Array:
    """One output pixel after another."""
    _, height, width, _ = x.shape
    kernel = weight.shape[1]
    pad = kernel // 2
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    rows = []
    for top in range(0, height, stride):
        windows = [
            padded[:, top : top + kernel, left : left + kernel]
            for left in range(0, width, stride)
        ]
        rows.append([np.einsum("bijc,cij->bc", w, weight[..., 0]) for w in windows])
    return np.array(rows).transpose(2, 0, 1, 3)


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(1, 8, 8, 3), (2, 6, 10, 16), (1, 2, 4, 1)])
def test_depthwise_conv(shape: tuple[int, ...], stride: int, kernel: int) -> None:
    random = np.random.default_rng(kernel)
    x = random.normal(size=shape).astype(np.float32)
    weight = random.normal(size=(shape[-1], kernel, kernel, 1)).astype(np.float32)
    found = depthwise_conv(mx.array(x), mx.array(weight), stride)
    expected = naive_depthwise(x, weight, stride)
    np.testing.assert_allclose(np.array(found), expected, rtol=1e-4, atol=1e-5)


def test_depthwise_conv_keeps_half_precision() -> None:
    ones = mx.ones((1, 4, 4, 2), mx.bfloat16)
    found = depthwise_conv(ones, mx.ones((2, 3, 3, 1), mx.bfloat16))
    assert found.dtype == mx.bfloat16
    assert found[0, 0, :, 0].tolist() == [4, 6, 6, 4]


def test_biases_ride_along() -> None:
    x, first, second = (
        mx.random.normal((5, 8), key=mx.random.key(n)) for n in (1, 2, 3)
    )
    bias = first[0]
    np.testing.assert_allclose(bias_gelu(x, bias), gelu(x + bias), atol=1e-6)
    np.testing.assert_allclose(add_bias(x, bias), x + bias, atol=1e-6)
    once, twice = add_biases(x, bias, second[0])
    np.testing.assert_allclose(once, x + bias, atol=1e-6)
    np.testing.assert_allclose(twice, x + bias + second[0], atol=1e-6)
    gated = gate_gelu(x, bias, second)
    np.testing.assert_allclose(gated, gelu((x + bias) * mx.sigmoid(second)), atol=1e-6)


@pytest.mark.parametrize("packed", [False, True])
def test_matmuls_are_the_layer_without_its_bias(packed: bool) -> None:
    layer: nn.Module = Linear(64, 32)
    if packed:
        layer = layer.to_quantized(group_size=32, bits=8)
    x = mx.random.normal((3, 64), key=mx.random.key(4))
    residual = mx.random.normal((3, 32), key=mx.random.key(5))
    expected = layer(x) - layer.bias
    np.testing.assert_allclose(matmul(x, layer), expected, atol=1e-5)
    found = add_matmul(residual, x, layer)
    np.testing.assert_allclose(found, residual + expected, atol=1e-5)


def test_a_layer_made_dense_again_is_a_plain_linear() -> None:
    """What dequantize leaves in the tower keeps no transposed view."""
    layer, x = nn.Linear(8, 4), mx.random.normal((3, 8), key=mx.random.key(4))
    expected = layer(x) - layer.bias
    np.testing.assert_allclose(matmul(x, layer), expected, atol=1e-5)


def test_a_new_weight_is_seen_by_the_next_matmul() -> None:
    """The transposed view is kept from call to call, but not beyond its weight."""
    layer, x = Linear(4, 4), mx.random.normal((2, 4), key=mx.random.key(6))
    matmul(x, layer)
    layer.weight = mx.eye(4)
    np.testing.assert_allclose(matmul(x, layer), x, atol=1e-6)


def test_gelu_is_the_exact_one() -> None:
    """Not the tanh form, which differs by 5e-4 near 2."""
    x = np.linspace(-6, 6, 401)
    expected = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x]
    found = np.array(gelu(mx.array(x.astype(np.float32))))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_gelu_keeps_its_dtype_and_its_limits(dtype: mx.Dtype) -> None:
    found = gelu(mx.array([-1e4, 0, 1e4], dtype))
    assert found.dtype == dtype
    assert found.tolist() == mx.array([0, 0, 1e4], dtype).tolist()
