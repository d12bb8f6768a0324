"""Images decoded: how large, how small, and ahead of time."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fastvlm_mlx.errors import ImageError
from fastvlm_mlx.images.decode import (
    DECODE_MARGIN,
    MAX_ASPECT,
    open_ahead,
    open_image,
    upright_size,
)
from fastvlm_mlx.images.resize import prepare
from tests.images.formats.png_files import MAGIC, chunk
from tests.images.samples import UPRIGHT, Array, encoded, noise, oriented


def pixels(source: Any) -> Array:
    image = open_image(source)
    assert image.mode == "RGB"
    return np.asarray(image)


# --- sizes ------------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""
    head = struct.pack(">LLBBBBB", width, height, 8, 2, 0, 0, 0)
    return MAGIC + chunk(b"IHDR", head) + chunk(b"IDAT") + chunk(b"IEND")


@pytest.mark.parametrize("side", [13_400, 18_000, 60_000])
def test_a_decompression_bomb_is_refused_by_its_header(side: int) -> None:
    """13,400² is over the bound; PIL alone would warn, and refuse from 18,920² on."""
    with pytest.raises(ImageError, match="at most 178,956,970 are decoded"):
        open_image(png_header(side, side))


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1), (MAX_ASPECT + 1, 1)])
def test_a_strip_too_narrow_is_refused(size: tuple[int, int]) -> None:
    message = f"{size[0]}x{size[1]} pixels; the long side.*{MAX_ASPECT} times"
    for source in (Image.new("RGB", size), np.zeros((size[1], size[0]), np.uint8)):
        with pytest.raises(ImageError, match=message):
            open_image(source)


def test_the_longest_strip_is_taken() -> None:
    image = open_image(Image.new("RGB", (MAX_ASPECT, 1), "white"))
    assert prepare(image, (64, 64), "pad").shape == (64, 64, 3)


# --- sizes before opening ---------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 1), (3, 5, 3), (3, 5, 4)])
def test_the_size_of_an_array(shape: tuple[int, ...]) -> None:
    assert upright_size(np.zeros(shape, np.uint8)) == (3, 5)


@pytest.mark.parametrize("source", [b"", b"no image", "nowhere.png", 5, (1, 2)])
def test_what_has_no_size_is_an_image_error(source: Any) -> None:
    with pytest.raises(ImageError) as expected:
        open_image(source)
    with pytest.raises(ImageError) as found:
        upright_size(source)
    assert str(found.value) == str(expected.value)


def test_no_size_is_given_of_what_cannot_be_used() -> None:
    file = io.BytesIO()
    Image.new("L", (10_000, 1)).save(file, "PNG")
    with pytest.raises(ImageError, match="10000x1 pixels; the long side may be"):
        upright_size(file.getvalue())


# --- large JPEGs ------------------------------------------------------------------


def scene(width: int, height: int) -> Image.Image:
    """Amplitudes that fall with frequency, as those of photographs do."""
    generator = np.random.default_rng(0)
    spectrum = np.fft.rfft2(generator.normal(size=(3, height, width)))
    frequency = np.hypot(
        np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    )
    falling = np.fft.irfft2(spectrum / (frequency + 1 / width), (height, width))
    grey, tint = falling[0], falling.std(axis=(1, 2), keepdims=True)
    values = (grey + 0.3 * falling) / tint * 40 + 128
    rounded = values.clip(0, 255).round().astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(rounded.transpose(1, 2, 0)))


SCENE = scene(640, 416)


@pytest.mark.parametrize(
    ("size", "mode", "share"),
    [
        ((64, 64), "pad", 4),  # 640 = 10 x 64
        ((64, 64), "crop", 2),  # 416 = 6.5 x 64
        ((128, 128), "pad", 2),
        ((128, 128), "crop", 1),
        ((192, 192), "pad", 1),
        ((64, 192), "pad", 2),  # the height decides
        ((64, 192), "crop", 1),
        ((64, 64), "stretch", 2),
        ((64, 192), "stretch", 1),
        (None, "pad", 1),
    ],
)
def test_a_large_jpeg_is_decoded_smaller(
    size: tuple[int, int] | None, mode: Any, share: int
) -> None:
    for progressive in (False, True):
        data = encoded(SCENE, "JPEG", progressive=progressive)
        found = open_image(data, size, mode).size
        assert found == (640 // share, 416 // share)


@pytest.mark.parametrize(
    ("width", "height", "mode", "share"),
    [
        (640, 416, "pad", 4),
        (640, 420, "pad", 2),  # 110 rows of black above it
        (640, 419, "pad", 1),
        (642, 418, "pad", 2),
        (642, 418, "crop", 2),
        (643, 418, "crop", 1),
    ],
)
def test_a_share_that_would_move_the_picture_is_not_taken(
    width: int, height: int, mode: Any, share: int
) -> None:
    data = encoded(Image.new("RGB", (width, height)), "JPEG")
    found = open_image(data, (64, 64), mode).size
    assert found == (width // share, height // share)


@given(width=st.integers(64, 1500), height=st.integers(64, 1500))
def test_enough_is_left_for_the_frame(width: int, height: int) -> None:
    data = encoded(Image.new("RGB", (width, height)), "JPEG")
    whole = max(width, height)
    for share in (1, 2, 4, 8):
        side = 64 * share
        left = max(open_image(data, (side, side)).size)
        assert left == whole or left >= DECODE_MARGIN * side


def difference(found: Array, expected: Array) -> Array:
    off: Array = np.abs(found.astype(int) - expected)
    return off


@pytest.mark.parametrize("number", UPRIGHT)
@pytest.mark.parametrize("mode", ["pad", "crop", "stretch"])
def test_decoded_smaller_it_is_nearly_the_same_picture(number: int, mode: Any) -> None:
    """Within what DECODE_MARGIN states, the right way up."""
    data = encoded(SCENE, "JPEG", quality=90, exif=oriented(number))
    size = (192, 64) if number > 4 else (64, 192)
    size = size if mode == "pad" else (64, 64)
    smaller, whole = open_image(data, size, mode), open_image(data)
    upright = whole.width // 2, whole.height // 2
    assert smaller.size == (size[::-1] if number > 4 else upright)
    off = difference(prepare(smaller, size, mode), prepare(whole, size, mode))
    assert 0 < off.mean() < 1
    assert np.quantile(off, 0.999) <= 8


@pytest.mark.parametrize(("height", "found"), [(832, (64, 64)), (836, (209, 320))])
def test_turned_last_only_if_as_much_is_cut_on_both_sides(
    height: int, found: tuple[int, int]
) -> None:
    """98 or 97 columns to 64: an odd one would be cut from the other side."""
    lying = encoded(Image.new("RGB", (1280, height)), "JPEG", exif=oriented(6))
    assert open_image(lying, (64, 64), "crop").size == found


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_ink_are_decoded_smaller_too(mode: str) -> None:
    data = encoded(SCENE.convert(mode), "JPEG", quality=90)
    found = prepare(open_image(data, (64, 64)), (64, 64), "pad")
    off = difference(found, prepare(open_image(data), (64, 64), "pad"))
    assert open_image(data, (64, 64)).size == (160, 104)
    assert off.mean() < 1


def test_a_telephones_jpeg_with_a_second_picture_is_decoded_smaller() -> None:
    """Some append a depth or gain map; Pillow calls the format MPO."""
    data = encoded(SCENE, "MPO", save_all=True, append_images=[noise(20, 10)])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    found = open_image(data, (64, 64))
    assert found.size == (160, 104)
    expected = prepare(open_image(data), (64, 64), "pad")
    assert difference(prepare(found, (64, 64), "pad"), expected).mean() < 1


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "GIF", "WEBP"])
def test_other_formats_are_decoded_in_full(format: str) -> None:
    data = encoded(SCENE, format)
    whole = np.asarray(open_image(data))
    assert np.array_equal(np.asarray(open_image(data, (64, 64))), whole)


def test_a_callers_own_image_is_left_alone() -> None:
    """It may be a file that has not been read yet, and is the caller's to decode."""
    image = Image.open(io.BytesIO(encoded(SCENE, "JPEG")))
    assert open_image(image, (64, 64)).size == SCENE.size == image.size


@given(data=st.data())
def test_damage_to_a_large_jpeg_leads_to_no_other_error(data: st.DataObject) -> None:
    whole = bytearray(encoded(scene(200, 130), "JPEG", exif=oriented(6)))
    position = st.integers(0, 700) | st.integers(0, len(whole) - 1)
    for place, mask in data.draw(
        st.dictionaries(position, st.integers(1, 255), min_size=1, max_size=8)
    ).items():
        whole[place] ^= mask
    try:
        image = open_image(bytes(whole), (16, 16))
    except ImageError as error:
        assert str(error).startswith("the image data ")
    else:
        assert prepare(image, (16, 16), "pad").shape == (16, 16, 3)


# --- ahead of time ----------------------------------------------------------------


def test_pictures_opened_ahead_are_the_same_in_the_same_order() -> None:
    data = encoded(SCENE, "JPEG")
    sources: list[Any] = [noise(30, 20), data, encoded(noise(9, 9, 5))]
    for exact in (False, True):
        ahead = open_ahead(sources, lambda _: ((64, 128), "pad"), exact)
        for source, future in zip(sources, ahead, strict=True):
            opened = open_image(source, None if exact else (64, 128))
            expected = prepare(opened, (64, 128), "pad")
            assert np.array_equal(pixels(future), expected)
            again = prepare(open_image(future, (64, 128)), (64, 128), "pad")
            assert np.array_equal(again, expected)  # as the engine takes it


def test_what_is_wrong_with_one_is_raised_in_its_place() -> None:
    sources: list[Any] = [noise(8, 8), b"", noise(9, 9)]
    ahead = open_ahead(sources, lambda _: ((64, 64), "pad"))
    assert pixels(ahead[0]).shape == pixels(ahead[2]).shape == (64, 64, 3)
    for _ in range(2):
        with pytest.raises(ImageError, match="the image data is empty"):
            open_image(ahead[1])
