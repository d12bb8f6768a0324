"""The CPU's matmul with packed weights against MLX's own."""

from unittest import mock

import numpy as np
import pytest

from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.model.cpu import packed_matmul

AFFINE = [(32, 2), (64, 4), (128, 8), (64, 3), (64, 5), (32, 6)]


@pytest.mark.parametrize("rows", [(1,), (2, 3), (40,)])
@pytest.mark.parametrize(
    ("group_size", "bits", "mode"),
    [*((size, bits, "affine") for size, bits in AFFINE), (32, 4, "mxfp4")],
)
def test_packed_matmul(
    rows: tuple[int, ...], group_size: int, bits: int, mode: str
) -> None:
    layer = mx.random.normal((80, 256), key=mx.random.key(0))
    x = mx.random.normal((*rows, 256), key=mx.random.key(1))
    weight, scales, *rest = mx.quantize(layer, group_size, bits, mode)
    biases = rest[0] if rest else None
    expected = mx.quantized_matmul(
        x, weight, scales, biases, True, group_size, bits, mode
    )
    with mock.patch("fastvlm_mlx.model.cpu.packed._WEIGHTS", 256 * 30):
        found = packed_matmul(x, weight, scales, biases, group_size, bits, mode)
    assert found.dtype == mx.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
