"""Both forms against MLX's own grouped conv."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.model.cpu import depthwise


def check(form: str, shape: tuple[int, ...], kernel: int, stride: int) -> None:
    x = mx.random.normal(shape, key=mx.random.key(1))
    weight = mx.random.normal((shape[-1], kernel, kernel, 1), key=mx.random.key(2))
    found = getattr(depthwise, form)(x, weight, stride)
    expected = mx.conv2d(x, weight, stride, kernel // 2, groups=shape[-1])
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("form", ["shifted", "tiled"])
@settings(max_examples=30, deadline=None)
@given(
    st.tuples(*[st.integers(1, side) for side in (2, 20, 20, 5)]),
    st.sampled_from([1, 3, 5, 7]),
    st.sampled_from([1, 2]),
)
def test_any_shape(
    form: str, shape: tuple[int, int, int, int], kernel: int, stride: int
) -> None:
    check(form, shape, kernel, stride)


def test_the_wide_tiles_of_a_large_picture() -> None:
    check("tiled", (1, 200, 50, 2), 7, 1)
    check("tiled", (1, 200, 50, 2), 7, 2)
