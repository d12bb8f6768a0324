"""Arrays of NumPy, and of libraries that are not imported."""

from typing import Any

import numpy as np
import pytest

from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import ImageError
from fastvlm_mlx.images.decode import open_image, upright_size
from tests.images.samples import Array, noise


def pixels(source: Any) -> Array:
    image = open_image(source)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
def test_shapes(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    array[..., 3:] = 255  # where there is a fourth channel, nothing shines through
    colors = array.reshape(4, 5, -1)[:, :, :3]
    assert np.array_equal(pixels(array), np.broadcast_to(colors, (4, 5, 3)))
    assert upright_size(array) == (4, 5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_shares_of_255(dtype: type) -> None:
    expected = np.arange(256).reshape(16, 16)
    found = pixels((expected / 255).astype(dtype))
    assert np.array_equal(found[:, :, 0], expected)


def test_booleans_are_black_and_white() -> None:
    assert pixels(np.array([[True, False]])).tolist() == [[[255] * 3, [0] * 3]]


def test_views_need_not_be_contiguous() -> None:
    array = np.asarray(noise(8, 6))
    assert np.array_equal(pixels(array[::-2, ::2]), array[::-2, ::2])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4, 5), np.uint8), r"channels come first.*permute\(1, 2, 0\)"),
        (np.zeros((1, 4, 5), np.uint8), r"\(1, 4, 5\); .*channels come first"),
        (np.zeros((3, 4, 2), np.uint8), r"\(3, 4, 2\)"),
        (np.zeros((7, 4, 2), np.uint8), r"\(7, 4, 2\); expected \(H, W\)"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"\(1, 4, 4, 3\).*one by one"),
        (np.array(1, np.uint8), r"\(\)"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((4, 4), np.int64), "int64; expected uint8"),
        (np.zeros((4, 4), np.uint16), "uint16; expected uint8"),
        (np.zeros((4, 4), complex), "complex128; expected uint8"),
        (np.full((4, 4), "x"), "expected uint8"),
        (np.full((4, 4), None), "object; expected uint8"),
        (np.full((4, 4), 255.0), r"within \[0, 1\]; divide it by 255"),
        (np.full((4, 4), -0.01), r"within \[0, 1\]"),
        (np.full((4, 4), np.nan), r"within \[0, 1\]"),
        (np.full((4, 4), np.inf), r"within \[0, 1\]"),
    ],
)
def test_others_are_refused(array: Array, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        open_image(array)


# --- of other libraries -----------------------------------------------------------


class Tensor:
    """What torch's are: values that may have a history, or lie on another device."""

    def __init__(self, values: Array, at_hand: bool = False) -> None:
        self._values, self._at_hand = values, at_hand
        self.dtype = values.dtype

    def detach(self) -> "Tensor":
        return self

    def cpu(self) -> "Tensor":
        return Tensor(self._values, at_hand=True)

    def __array__(self, *_: Any, **__: Any) -> Array:
        if not self._at_hand:
            raise TypeError("it is on another device")
        return self._values


def test_a_tensor_on_another_device() -> None:
    values = np.asarray(noise(6, 4))
    assert np.array_equal(pixels(Tensor(values)), values)
    assert upright_size(Tensor(values)) == (4, 6)


@pytest.mark.parametrize("dtype", [mx.uint8, mx.float16, mx.float32])
def test_an_array_of_mlx(dtype: mx.Dtype) -> None:
    values = np.asarray(noise(6, 4))
    array = mx.array(values) if dtype == mx.uint8 else mx.array(values / 255.0)
    assert np.abs(pixels(array.astype(dtype)).astype(int) - values).max() <= 1
    lazy = mx.transpose(mx.array(values), (1, 0, 2))
    assert np.array_equal(pixels(lazy), values.swapaxes(0, 1))


def test_what_numpy_does_not_know_is_refused_with_what_to_do() -> None:
    array = mx.zeros((4, 4, 3), mx.bfloat16)
    with pytest.raises(
        ImageError, match="bfloat16.*convert it to uint8, or to float32"
    ):
        open_image(array)
