"""HEIF and HEIC (ISO/IEC 23008-12), by pi-heif: what iPhones write."""

from typing import Any

import numpy as np
from PIL import Image

from . import isobmff
from .header import Damaged, Header, Unreadable

_BRANDS = {*b"heic heix heim heis hevc hevx hevm hevs mif1 mif2 msf1".split()}
_AVIF_BRANDS = {b"avif", b"avis"}


def matches(data: bytes) -> bool:
    brands = isobmff.brands(data)
    return bool(brands & _BRANDS) and not brands & _AVIF_BRANDS


def read(data: bytes) -> Header:
    """The primary image; depth maps, thumbnails and the like are left out.

    libheif turns it upright by the container's own fields, and those of EXIF repeat
    them (6.5.10 and A.2.1).
    """
    for item in isobmff.items(data):
        if item.kind == b"hvc1" and isobmff.holds_zeros(data, item):
            raise Damaged("a part of its pixels is missing")
    image = _opened(data)
    size = image.size
    return Header(size, lambda: _decoded(image))


def _opened(data: bytes) -> Any:
    """pi-heif is not registered with Pillow: that would change the caller's Pillow."""
    try:
        import pi_heif
    except ImportError as error:
        raise Unreadable(
            f"is HEIF, which needs pi-heif ({error}); install it, or save the image "
            "as JPEG."
        ) from None
    file = pi_heif.open_heif(data)  # to 8 bits, if it has more and colours
    if not len(file):
        raise Unreadable("is HEIF without a still image; save one as JPEG.")
    return file[file.primary_index]


def _decoded(image: Any) -> Image.Image:
    if not image.mode.endswith("16"):
        return Image.frombytes(
            image.mode, image.size, image.data, "raw", image.mode, image.stride
        )
    wide = np.asarray(image).astype(np.uint32)  # grey of more than 8 bits
    return Image.fromarray(((wide + 128) // 257).astype(np.uint8))
