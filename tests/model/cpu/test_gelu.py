"""The rational form against MLX's erf."""

import mlx.nn as nn
import numpy as np

from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.model.cpu import gelu


def test_gelu() -> None:
    x = mx.linspace(-12, 12, 4801)
    np.testing.assert_allclose(gelu(x), nn.gelu(x), rtol=1e-6, atol=1e-6)


def test_far_out_it_is_a_relu() -> None:
    assert (
        gelu(mx.array([-1e30, -30.0, 0, 30, 1e30])).tolist()
        == mx.array([0, 0, 0, 30, 1e30]).tolist()
    )
