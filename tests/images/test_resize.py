"""A picture to the frame that the encoder sees, to the bit as the reference has it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fastvlm_mlx.errors import OptionError
from fastvlm_mlx.images.resize import overview_and_tiles, prepare
from tests.probes import noise

BICUBIC = Image.Resampling.BICUBIC


# --- pad and crop -----------------------------------------------------------------


def expand_to_square(image: Image.Image) -> Image.Image:
    """LLaVA's expand2square on black, as its publication describes it."""
    side = max(image.size)
    square = Image.new("RGB", (side, side))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


sides = st.integers(1, 90)


@given(width=sides, height=sides, target=st.sampled_from([64, 128]), seed=st.integers())
def test_pad_is_expand_to_square_then_bicubic(
    width: int, height: int, target: int, seed: int
) -> None:
    image = noise(seed % 2**32, width, height)
    expected = expand_to_square(image).resize((target, target), BICUBIC)
    found = prepare(image, (target, target), "pad")
    assert np.array_equal(found, np.asarray(expected))


@pytest.mark.parametrize("size", [(640, 480), (100, 1100), (1100, 100), (513, 512)])
def test_pad_is_the_same_where_stripes_meet(size: tuple[int, int]) -> None:
    """Rows are padded 512 at a time."""
    image = noise(0, *size)
    expected = expand_to_square(image).resize((128, 128), BICUBIC)
    assert np.array_equal(prepare(image, (128, 128), "pad"), np.asarray(expected))


@given(width=sides, height=sides)
def test_pad_to_an_oblong_keeps_the_ratio(width: int, height: int) -> None:
    """The frame is the smallest of the target's ratio that holds the picture."""
    image = noise(0, width, height)
    frame = (max(width, -(-height * 192 // 128)), max(height, -(-width * 128 // 192)))
    padded = Image.new("RGB", frame)
    padded.paste(image, ((frame[0] - width) // 2, (frame[1] - height) // 2))
    expected = np.asarray(padded.resize((192, 128), BICUBIC))
    assert np.array_equal(prepare(image, (128, 192), "pad"), expected)


def test_pad_never_builds_the_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """A strip of 9000x90 would need a square of 243 MB."""
    strip, largest = noise(0, 9000, 90), 0
    new = Image.new

    def counting(mode: str, size: tuple[int, int], *rest: Any) -> Image.Image:
        nonlocal largest
        largest = max(largest, size[0] * size[1])
        return new(mode, size, *rest)

    monkeypatch.setattr(Image, "new", counting)  # the same module in frame.py
    prepare(strip, (64, 64), "pad")
    prepare(strip.transpose(Image.Transpose.ROTATE_90), (64, 64), "pad")
    assert 0 < largest <= 9000 * 9000 // 10


def center_crop(image: Image.Image, side: int) -> Image.Image:
    """CLIPImageProcessor: shortest edge to `side`, then the middle of the rest."""
    short, long = sorted(image.size)
    rest = side * long // short
    size = (side, rest) if image.width <= image.height else (rest, side)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    resized = image.resize(size, BICUBIC)
    return resized.crop((left, top, left + side, top + side))


@given(width=sides, height=sides, target=st.sampled_from([64, 128]))
def test_crop_is_shortest_edge_then_centre(
    width: int, height: int, target: int
) -> None:
    image = noise(0, width, height)
    found = prepare(image, (target, target), "crop")
    assert np.array_equal(found, np.asarray(center_crop(image, target)))


@given(width=sides, height=sides)
def test_crop_to_an_oblong_covers_it(width: int, height: int) -> None:
    """A white picture leaves no black at any edge."""
    image = Image.new("RGB", (width, height), "white")
    assert (prepare(image, (128, 192), "crop") == 255).all()


def test_modes_differ_on_an_oblong_and_agree_on_a_square() -> None:
    oblong, square = noise(0, 90, 60), noise(0, 90, 90)
    pad, crop = (prepare(oblong, (64, 64), mode) for mode in ("pad", "crop"))
    assert not np.array_equal(pad, crop)
    pad, crop = (prepare(square, (64, 64), mode) for mode in ("pad", "crop"))
    assert np.array_equal(pad, crop)


def test_an_unknown_mode_names_the_known_ones() -> None:
    mode: Any = "squeeze"
    with pytest.raises(OptionError, match="'squeeze'; expected one of .*pad.*crop"):
        prepare(noise(0, 4, 4), (64, 64), mode)


# --- frames and views -------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 128), (128, 64), (192, 192)])
@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (100, 57), (641, 479), (1500, 900)])
def test_stretching_is_one_plain_resize(
    shape: tuple[int, int], size: tuple[int, int]
) -> None:
    """To the bit, stripes or not."""
    image = noise(0, *shape)
    expected = image.resize(size[::-1], Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(prepare(image, size, "stretch"), expected)


@pytest.mark.parametrize("mode", ["pad", "crop", "stretch"])
def test_tiles_laid_out_are_the_picture_at_twice_the_size(mode: Any) -> None:
    image = noise(0, 90, 140)
    views = overview_and_tiles(image, (64, 128), mode)
    assert views.shape == (5, 64, 128, 3)
    assert views.dtype == np.uint8
    np.testing.assert_array_equal(views[0], prepare(image, (64, 128), mode))
    rows = [np.concatenate(row, axis=1) for row in (views[1:3], views[3:])]
    whole = prepare(image, (128, 256), mode)
    np.testing.assert_array_equal(np.concatenate(rows), whole)


def test_stripes_stay_small_whatever_the_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fastvlm_mlx.images.resize._STRIPE_BYTES", 3000)
    image = noise(0, 70, 90)
    found = prepare(image, (64, 192), "pad")
    monkeypatch.undo()
    assert np.array_equal(found, prepare(image, (64, 192), "pad"))


@pytest.mark.parametrize("mode", ["pad", "crop"])
def test_stripes_are_those_of_a_whole_resize(
    monkeypatch: pytest.MonkeyPatch, mode: Any
) -> None:
    """Threads hand stripes back in any order; each has its own place."""
    image = noise(0, 301, 203)
    whole = prepare(image, (128, 192), mode)
    monkeypatch.setattr(
        "fastvlm_mlx.images.resize._STRIPE_BYTES", 1
    )  # one row at a time
    assert np.array_equal(prepare(image, (128, 192), mode), whole)
