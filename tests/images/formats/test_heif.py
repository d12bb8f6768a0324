"""HEIF: photos of phones, upright whatever says so."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastvlm_mlx.errors import ImageError
from fastvlm_mlx.images.decode import open_image, upright_size
from tests.images.formats.corpus import HEIF
from tests.images.heif_files.make import SIZE, box, drawn, transparent
from tests.images.samples import UPRIGHT, Array


def read(name: str) -> bytes:
    return (HEIF / f"{name}.heic").read_bytes()


def off(data: bytes, expected: Image.Image | Array) -> float:
    """On average; the encoder is lossy."""
    found = np.asarray(open_image(data)).astype(int)
    assert upright_size(data) == found.shape[:2]
    return float(np.abs(found - np.asarray(expected)).mean())


@pytest.mark.parametrize("name", ["plain", "ten_bits"])
def test_colours(name: str) -> None:
    assert off(read(name), drawn()) < 1


@pytest.mark.parametrize("name", ["grey", "grey_ten_bits"])
def test_grey(name: str) -> None:
    assert off(read(name), drawn().convert("L").convert("RGB")) < 1.5


def test_what_is_transparent_shows_white() -> None:
    paper = Image.new("RGBA", SIZE, "white")
    expected = Image.alpha_composite(paper, transparent()).convert("RGB")
    assert off(read("alpha"), expected) < 1.5


@pytest.mark.parametrize("number", UPRIGHT)
def test_it_is_turned_once(number: int) -> None:
    """By the container; EXIF says the same again."""
    stored = np.asarray(drawn())
    assert off(read(f"turned_{number}"), UPRIGHT[number](stored)) < 1


def test_a_photo_of_an_iphone() -> None:
    """Tiles put together, cut and turned; no thumbnail, no depth map."""
    assert off(read("photo"), drawn((SIZE[1], SIZE[0]))) < 2.5


@pytest.mark.parametrize("brand", [b"heix", b"mif1", b"heis"])
def test_other_brands(brand: bytes) -> None:
    data = read("plain")
    assert off(data[:8] + brand + data[12:], drawn()) < 1


@pytest.mark.parametrize("place", [0.6, 0.8, 0.95])
def test_a_hole_of_zeros_is_refused(place: float) -> None:
    """In the middle too: HEVC has no row of zeros anywhere."""
    data = read("photo")
    at = int(place * len(data))
    with pytest.raises(ImageError, match="damaged or cut off: a part of its pixels"):
        open_image(data[:at] + bytes(16) + data[at + 16 :])


def test_a_box_behind_it_does_not_matter() -> None:
    """Phones append films in boxes of their own."""
    data = read("photo")
    film = box(b"mpvd", bytes(500))
    assert open_image(data + film).tobytes() == open_image(data).tobytes()


def test_damaged_metadata_does_not_matter() -> None:
    """pi-heif by itself would end the process."""
    data = bytearray(read("photo"))
    at = data.index(b"Exif\0\0", data.index(b"mdat"))
    data[at - 4 : at + 30] = b"\xff" * 34
    assert off(bytes(data), drawn((SIZE[1], SIZE[0]))) < 2.5


def test_what_only_claims_to_be_one_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "photo.heic"
    path.write_bytes(read("plain")[:24] + bytes(400))
    with pytest.raises(ImageError, match="photo.heic .*HEIF"):
        open_image(path)


def test_the_callers_pillow_does_not_read_it_afterwards() -> None:
    """Nothing is registered for everybody."""
    open_image(read("plain"))
    assert "HEIF" not in Image.OPEN
