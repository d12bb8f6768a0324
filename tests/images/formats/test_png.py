"""PNG of all depths and colours, and what its other chunks may do."""

import struct
import zlib
from typing import Any

import numpy as np
import pytest

from fastvlm_mlx.errors import ImageError
from fastvlm_mlx.images.decode import open_image, upright_size
from tests.images.formats.png_files import (
    GREY,
    GREY_ALPHA,
    MAGIC,
    RGB,
    RGBA,
    chunk,
    png,
)
from tests.images.samples import Array, encoded, noise, oriented


def drawn(bits: int, channels: int) -> Array:
    generator = np.random.default_rng(bits)
    return generator.integers(0, 1 << bits, (11, 13, channels))


def in_eight_bits(samples: Array, bits: int) -> Array:
    return np.round(samples * 255 / ((1 << bits) - 1))


def off(data: bytes, expected: Array) -> float:
    found = np.asarray(open_image(data)).astype(int)
    return float(np.abs(found - expected).max())


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("bits", "colours"), [(1, 0), (2, 0), (4, 0), (16, 0)])
@pytest.mark.parametrize("transparent", [False, True])
def test_grey(bits: int, colours: int, transparent: bool, interlaced: bool) -> None:
    samples = drawn(bits, 1)
    key = int(samples[3, 4, 0])
    more = chunk(b"tRNS", struct.pack(">H", key)) if transparent else b""
    expected = in_eight_bits(samples, bits)
    if transparent:
        expected[samples == key] = 255
    data = png(samples, bits, GREY, before=more, interlaced=interlaced)
    assert off(data, expected) == 0


@pytest.mark.parametrize("bits", [8, 16])
def test_a_transparent_colour(bits: int) -> None:
    samples = drawn(bits, 3)
    key = chunk(b"tRNS", struct.pack(">HHH", *samples[3, 4]))
    expected = in_eight_bits(samples, bits)
    expected[3, 4] = 255
    assert off(png(samples, bits, RGB, before=key), expected) <= 1


@pytest.mark.parametrize(
    ("colours", "channels"), [(RGB, 3), (GREY_ALPHA, 2), (RGBA, 4)]
)
def test_sixteen_bits_look_like_eight(colours: int, channels: int) -> None:
    samples = drawn(8, channels)
    twin = np.asarray(open_image(png(samples, 8, colours))).astype(int)
    assert off(png(samples * 257, 16, colours), twin) <= 1


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("how", ["eXIf", "tEXt", "zTXt", "iTXt", "packed iTXt"])
def test_orientation_wherever_it_is(place: str, how: str) -> None:
    """Behind the pixels too: the size is known before they are decoded."""
    exif = oriented(6).tobytes().removeprefix(b"Exif\0\0")
    digits = b"\nexif\n%8d\n" % len(exif) + exif.hex().encode()
    xmp = b'<x tiff:Orientation="6"/>'
    metadata = {
        "eXIf": chunk(b"eXIf", exif),
        "tEXt": chunk(b"tEXt", b"Raw profile type exif\0" + digits),
        "zTXt": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(digits)),
        "iTXt": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
        "packed iTXt": chunk(
            b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp)
        ),
    }[how]
    options: Any = {place: metadata}
    data = png(drawn(8, 3), 8, RGB, **options)
    assert upright_size(data) == (13, 11)
    assert open_image(data).size == (11, 13)


@pytest.mark.parametrize(
    "metadata",
    [
        chunk(b"zTXt", b"XML\0\0" + zlib.compress(bytes(9_000_000))),  # a bomb
        chunk(b"zTXt", b"Raw profile type exif\0\0no"),
        chunk(b"tEXt", b"Raw profile type exif\0\n\n\nzz"),
        chunk(b"acTL", bytes(8)),  # no frames: Pillow warns
        chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(9_000_000))),
        b"\0\0\0\1tEXta\0\0\0\0",  # a wrong checksum
    ],
)
def test_metadata_does_not_matter(metadata: bytes) -> None:
    samples = drawn(8, 3)
    assert off(png(samples, 8, RGB, before=metadata), samples) == 0


def test_a_wrong_checksum_is_refused_and_named() -> None:
    data = bytearray(encoded(noise(9, 9)))
    data[data.index(b"IDAT") + 9] ^= 1
    with pytest.raises(ImageError, match="damaged.*checksum of a chunk IDAT"):
        open_image(bytes(data))


def test_pixels_that_are_fewer_than_announced_are_refused() -> None:
    whole = png(drawn(8, 3), 8, RGB)
    head = struct.pack(">LLBBBBB", 13, 12, 8, 2, 0, 0, 0)
    data = MAGIC + chunk(b"IHDR", head) + whole[whole.index(b"IDAT") - 4 :]
    with pytest.raises(ImageError, match="damaged or cut off"):
        open_image(data)


def test_apples_own_kind_is_refused_by_name() -> None:
    data = encoded(noise(9, 9))
    with pytest.raises(ImageError, match="CgBI.*plain PNG"):
        open_image(MAGIC + chunk(b"CgBI", bytes(4)) + data[len(MAGIC) :])
