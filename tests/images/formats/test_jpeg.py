"""JPEG: where it ends, and what stands around it."""

import pytest

from fastvlm_mlx.errors import ImageError
from fastvlm_mlx.images.decode import open_image, upright_size
from tests.images.formats.corpus import FILES, FILM
from tests.images.samples import encoded, oriented, smooth

END = b"\xff\xd9"

IMAGE = encoded(smooth(), "JPEG", quality=90)


@pytest.mark.parametrize(
    "padding", [bytes(5000), b"\xff" * 5000, b" " * 5000, bytes(range(256)) * 20]
)
@pytest.mark.parametrize("name", ["JPEG", "JPEG with restarts", "JPEG, arithmetic"])
def test_one_that_was_cut_and_padded_is_refused(name: str, padding: bytes) -> None:
    half = FILES[name][: len(FILES[name]) // 4 * 3]
    with pytest.raises(ImageError, match="damaged or cut off"):
        open_image(half + padding)


def test_one_that_was_cut_before_another_is_refused() -> None:
    """The marker at the end is that of the other one."""
    with pytest.raises(ImageError, match="damaged or cut off"):
        open_image(IMAGE[:-100] + IMAGE)


def test_a_thumbnails_end_is_not_the_images() -> None:
    whole = FILES["JPEG with a thumbnail"]
    assert whole.index(END) < len(whole) - 2
    with pytest.raises(ImageError, match="damaged or cut off"):
        open_image(whole[:-2] + bytes(2))


def test_each_scan_of_a_progressive_one_is_followed() -> None:
    whole = FILES["JPEG, progressive"]
    assert whole.count(b"\xff\xda") > 2
    with pytest.raises(ImageError, match="damaged or cut off"):
        open_image(whole[:-2])


def test_fill_bytes_before_markers_are_allowed() -> None:
    at = IMAGE.index(b"\xff\xdb")
    filled = IMAGE[:at] + b"\xff\xff" + IMAGE[at:-2] + b"\xff\xff" + END
    assert open_image(filled).tobytes() == open_image(IMAGE).tobytes()


def test_orientation_in_two_segments_of_exif() -> None:
    """As those that are longer than 64 kB are split."""
    exif = oriented(6).tobytes().removeprefix(b"Exif\0\0")
    parts = [b"Exif\0\0" + exif[:12], b"Exif\0\0" + exif[12:]]
    segments = b"".join(
        b"\xff\xe1" + (len(part) + 2).to_bytes(2) + part for part in parts
    )
    data = IMAGE[:2] + segments + IMAGE[2:] + FILM
    assert upright_size(data) == (64, 48) == open_image(data).size[::-1]


def test_orientation_in_xmp() -> None:
    xmp = b"http://ns.adobe.com/xap/1.0/\0<tiff:Orientation>8</tiff:Orientation>"
    segment = b"\xff\xe1" + (len(xmp) + 2).to_bytes(2) + xmp
    assert upright_size(IMAGE[:2] + segment + IMAGE[2:]) == (64, 48)


def test_twelve_bits_are_refused_by_name() -> None:
    at = IMAGE.index(b"\xff\xc0") + 4
    with pytest.raises(ImageError, match="JPEG of 12 bits"):
        open_image(IMAGE[:at] + b"\x0c" + IMAGE[at + 1 :])
