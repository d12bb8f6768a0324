"""The CPU's attention and its exp2 against MLX's own and NumPy's."""

from unittest import mock

import numpy as np
import pytest

from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.model.cpu.attention import attention, exp2

SHAPE = (2, 5, 24, 8)  # B, heads, N, D


def qkv(scale: float = 1.0) -> list[mx.array]:
    keys = mx.random.split(mx.random.key(0), 3)
    return [scale * mx.random.normal(SHAPE, key=key) for key in keys]


@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
@pytest.mark.parametrize("scores", [1, 3 * 2 * 24 * 24, 1 << 22])
def test_attention(scores: int, scale: float) -> None:
    q, k, v = qkv(scale)
    with mock.patch("fastvlm_mlx.model.cpu.attention._SCORES", scores):
        found = attention(q, k, v)
    expected = mx.fast.scaled_dot_product_attention(q, k, v, scale=1.0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * max(scale, 1))


def test_exp2() -> None:
    x = np.linspace(-125, 0, 100_001, dtype=np.float32)
    expected = np.exp2(np.maximum(x, -120).astype(np.float64))
    np.testing.assert_allclose(exp2(mx.array(x)), expected, rtol=3e-7)


def test_exp2_far_below_is_nothing() -> None:
    far = exp2(mx.array([-130.0, -1e4, -1e9, -3e38, -np.inf]))
    assert mx.all((far >= 0) & (far < 1e-36))
