"""AVIF (AV1 Image File Format), by Pillow."""

from . import isobmff
from .exif import orientation
from .header import Damaged, Header, Unreadable, header_of, opened_by_pillow


def matches(data: bytes) -> bool:
    return bool(isobmff.brands(data) & {b"avif", b"avis"})


def read(data: bytes) -> Header:
    """The primary image, turned as the container says; EXIF only repeats that."""
    shown = bytearray(data)
    for item in isobmff.items(data):
        if item.kind == b"av01" and isobmff.ends_in_zeros(data, item):
            raise Damaged("a part of its pixels is missing")
        if item.kind == b"Exif":  # Pillow would parse all of it, and warn
            shown[item.kind_at : item.kind_at + 4] = b"skip"
    try:
        image = opened_by_pillow("Avif", bytes(shown))
    except ImportError:
        raise Unreadable(
            "is AVIF, which needs Pillow 11.3 or newer; update it, or save the image "
            "as JPEG."
        ) from None
    return header_of(image, orientation(image.info.get("exif")))
