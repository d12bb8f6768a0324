"""Orientation, from metadata that may be damaged."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from fastvlm_mlx.images.decode import open_image
from fastvlm_mlx.images.formats.exif import orientation
from tests.images.samples import encoded, noise, oriented


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize(("order", "mark"), [("<", b"II"), (">", b"MM")])
@pytest.mark.parametrize(("kind", "code"), [(1, "B"), (3, "H"), (4, "L")])
def test_numbers_of_any_width_and_order(
    number: int, order: str, mark: bytes, kind: int, code: str
) -> None:
    value = struct.pack(order + code, number).ljust(4, b"\0")
    field = struct.pack(order + "HHL", 274, kind, 1) + value
    head = mark + struct.pack(order + "HLH", 42, 8, 1)
    for prefix in (b"", b"Exif\0\0"):
        assert orientation(prefix + head + field) == number


@pytest.mark.parametrize(
    ("xmp", "number"),
    [
        (b'<a tiff:Orientation="6"/>', 6),
        (b"<tiff:Orientation>3</tiff:Orientation>", 3),
        (b"<a tiff:Orientation = '8'/>", 8),
        (b'<a tiff:Orientation="9"/>', 1),
        (b"", 1),
    ],
)
def test_xmp_counts_where_exif_says_nothing(xmp: bytes, number: int) -> None:
    assert orientation(None, xmp) == number
    assert orientation(oriented(2).tobytes(), xmp) == 2


@given(exif=st.binary(max_size=80))
def test_anything_at_all_is_survived(exif: bytes) -> None:
    assert orientation(exif) in range(1, 9)
    assert orientation(b"II*\0" + exif) in range(1, 9)


@pytest.mark.parametrize("number", [0, 9, 65535])
def test_unknown_orientations_are_ignored(number: int) -> None:
    image = noise(6, 4)
    data = encoded(image, exif=oriented(number))
    assert np.array_equal(np.asarray(open_image(data)), np.asarray(image))


@pytest.mark.parametrize("cut", range(0, 26, 3))
def test_damaged_exif_does_not_spoil_a_picture(cut: int) -> None:
    image = Image.new("RGB", (16, 8), "red")
    exif = b"Exif\0\0" + oriented(1).tobytes().removeprefix(b"Exif\0\0")[:cut]
    data = encoded(image, "JPEG", exif=exif, quality=100)
    found = np.asarray(open_image(data))
    assert found.shape == (8, 16, 3) and found[0, 0, 0] > 250


# Tag, type and value of a field beside the orientation; PIL parses each, and cannot
# write it again.
DAMAGED_FIELDS = [
    (ExifTags.Base.XResolution, 2, b"abc\0"),
    (ExifTags.Base.XResolution, 7, b"abcd"),
    (ExifTags.Base.Copyright, 12, b"\0\0\0\0"),
]


@pytest.mark.parametrize(("tag", "kind", "value"), DAMAGED_FIELDS)
def test_orientation_counts_beside_damaged_fields(
    tag: int, kind: int, value: bytes
) -> None:
    """ImageOps.exif_transpose leaves such pictures lying on their side."""
    fields = struct.pack("<HHIHH", ExifTags.Base.Orientation, 3, 1, 6, 0)
    fields += struct.pack("<HHI", tag, kind, len(value)) + value
    exif = b"Exif\0\0II*\0\x08\0\0\0\2\0" + fields + b"\0\0\0\0"
    data = encoded(Image.new("RGB", (8, 4)), "JPEG", exif=exif)
    assert open_image(data).size == (4, 8)
