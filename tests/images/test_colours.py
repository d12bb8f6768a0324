"""Pixels of every mode become RGB."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastvlm_mlx.errors import ImageError
from fastvlm_mlx.images.decode import open_image
from fastvlm_mlx.images.resize import prepare
from tests.images.formats.tiff_files import tiff
from tests.images.samples import Array, encoded, noise


def pixels(source: Any) -> Array:
    image = open_image(source)
    assert image.mode == "RGB"
    return np.asarray(image)


def test_rgb_stays_as_it_is() -> None:
    image = noise(7, 5)
    assert np.array_equal(pixels(image), np.asarray(image))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_shows_white_paper(mode: str) -> None:
    """As transformers' image processors have it; a logo would drown in black."""
    values = np.random.default_rng(0).integers(0, 256, (5, 7, len(mode)), np.uint8)
    image = Image.fromarray(values)
    assert image.mode == mode
    alpha = values[:, :, -1:] / 255
    expected = values[:, :, :-1] * alpha + 255 * (1 - alpha)
    assert np.abs(pixels(encoded(image)) - expected).max() <= 1  # PIL rounds in bytes


def test_an_array_with_alpha_is_treated_like_a_picture() -> None:
    values = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)
    assert np.array_equal(pixels(values), pixels(Image.fromarray(values)))


def test_grey_is_repeated() -> None:
    values = np.arange(35, dtype=np.uint8).reshape(5, 7)
    expected = np.repeat(values[:, :, None], 3, axis=2)
    assert np.array_equal(pixels(encoded(Image.fromarray(values))), expected)


def test_one_bit_is_black_and_white() -> None:
    bits = np.eye(9, dtype=bool)
    expected = np.repeat(np.where(bits, 255, 0)[:, :, None], 3, axis=2)
    assert np.array_equal(pixels(encoded(Image.fromarray(bits))), expected)


@pytest.mark.parametrize("transparency", [None, 2, bytes([0, 128, 255, 7])])
def test_palette_is_looked_up(transparency: int | bytes | None) -> None:
    palette = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)
    indices = np.arange(36, dtype=np.uint8).reshape(6, 6) % 4
    image = Image.fromarray(indices, "L").copy()
    image.putpalette(palette.tobytes())
    options: dict[str, Any] = {}
    alpha = np.full(4, 255)
    if isinstance(transparency, int):
        alpha[transparency] = 0
    elif transparency is not None:
        alpha[:] = list(transparency)
    if transparency is not None:
        options["transparency"] = transparency
    seen = (alpha / 255)[indices][:, :, None]
    expected = palette[indices] * seen + 255 * (1 - seen)
    assert np.abs(pixels(encoded(image, **options)) - expected).max() <= 1


@pytest.mark.parametrize(
    ("ink", "expected"),
    [
        ((0, 0, 0, 0), (255, 255, 255)),
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 255, 0, 0), (255, 0, 255)),
        ((0, 0, 0, 255), (0, 0, 0)),
    ],
)
def test_cmyk_is_ink_on_white(
    ink: tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    data = encoded(Image.new("CMYK", (4, 4), ink), "TIFF")
    assert (pixels(data) == expected).all()


@pytest.mark.parametrize(
    ("dtype", "format"), [(np.uint16, "PNG"), (np.uint16, "TIFF"), (np.int32, "TIFF")]
)
def test_sixteen_bits_are_rounded_to_eight(dtype: type, format: str) -> None:
    """convert("RGB") of PIL would turn everything above 255 into white."""
    values = np.arange(0, 1 << 16, 7)[: 90 * 100].reshape(90, 100)
    data = encoded(Image.fromarray(values.astype(dtype)), format)
    assert np.array_equal(pixels(data)[:, :, 0], np.round(values / 65535 * 255))


def test_thirty_two_bits_are_refused() -> None:
    image = Image.fromarray(np.full((4, 4), 70000, np.int32))
    with pytest.raises(ImageError, match="32-bit.*8 or 16"):
        open_image(image)


def test_float_pixels_are_refused() -> None:
    with pytest.raises(ImageError, match="floating-point.*8 bits"):
        open_image(Image.new("F", (4, 4)))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "HSV", "RGBX", "I;16B"])
def test_other_modes_become_rgb(mode: str) -> None:
    assert pixels(Image.new(mode, (4, 4))).shape == (4, 4, 3)


@pytest.mark.parametrize("mode", ["La", "RGBa", "PA"])
def test_other_modes_with_transparency_show_white(mode: str) -> None:
    assert (pixels(Image.new(mode, (4, 4))) == 255).all()


def test_twelve_bits_that_a_caller_opened() -> None:
    """Pillow leaves them as they are, from 0 to 4095."""
    data = tiff(np.full((4, 4), 4095), 12)
    image = Image.open(io.BytesIO(data))
    for _ in range(2):
        assert (pixels(image) == 255).all()
        image.load()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P"])
def test_near_black_stays_near_black(mode: str) -> None:
    """mlx-vlm takes a picture whose largest value is 1 for one in [0, 1]."""
    image = Image.fromarray(np.eye(64, dtype=np.uint8))
    for source in (image.convert(mode), encoded(image.convert(mode))):
        found = prepare(open_image(source), (64, 64), "pad")
        assert np.array_equal(found[:, :, 1], np.eye(64))
