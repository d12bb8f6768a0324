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
        if item.kind == b"hvc1" and isobmff.has_hole(data, item):
            raise Damaged("a part of its pixels is missing")
    image = _opened(_without_metadata(data))
    return Header(image.size, lambda: _decoded(image))


def _without_metadata(data: bytes) -> bytes:
    """pi-heif reads all of it, and ends the process where some of it is damaged."""
    shown = bytearray(data)
    for box in isobmff.references(data):
        if box.kind in (b"cdsc", b"thmb"):  # of EXIF, XMP and thumbnails
            shown[box.kind_at : box.kind_at + 4] = b"skip"
    return bytes(shown)


def _opened(data: bytes) -> Any:
    """pi-heif is not registered with Pillow: that would change the caller's Pillow."""
    try:
        import pi_heif
    except ImportError as error:
        raise Unreadable(
            f"is HEIF, which needs pi-heif ({error}); install it, or save the image "
            "as JPEG."
        ) from None
    # whoever has it rearrange pixels has it write beyond them, where header and pixels
    # disagree about bits
    file = pi_heif.open_heif(data, hdr_to_16bit=False, remove_stride=False)
    if not len(file):
        raise Unreadable("is HEIF without a still image; save one as JPEG.")
    return file[file.primary_index]


def _decoded(image: Any) -> Image.Image:
    mode, _, bits = image.mode.partition(";")
    data, stride, (width, height) = image.data, image.stride, image.size
    if not bits:
        return Image.frombytes(mode, (width, height), data, "raw", mode, stride)
    if mode not in ("I", "L") or stride < 2 * width:  # grey of more than 8 bits
        raise Damaged(f"its pixels are not of {bits} bits, as its header says")
    rows = np.frombuffer(data, "<u2").reshape(height, stride // 2)[:, :width]
    most = (1 << int(bits)) - 1
    grey = (rows.astype(np.uint32) * 255 + most // 2) // most
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8))
