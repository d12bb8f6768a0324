"""WebP (RFC 9649): the chunks of a RIFF file, and the first image in them."""

import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image

from .exif import orientation
from .header import Damaged, Header, header_of, opened_by_pillow

_STILLS = (b"VP8 ", b"VP8L")

_SUSPICIOUS_ZEROS = 64
"""Zeros at the end of pixel data that are looked into. Flat areas end in such too."""


def matches(data: bytes) -> bool:
    return data.startswith(b"RIFF") and data[8:12] == b"WEBP"


def read(data: bytes) -> Header:
    """The first image; whatever follows the RIFF chunk does not matter."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise Damaged("it is shorter than its header says")
    exif, xmp = b"", b""
    for kind, body in _chunks(data[12:end]):
        if kind in _STILLS and _has_surplus_zeros(kind, body):
            raise Damaged("its pixels end in zeros that mean nothing")
        exif = body if kind == b"EXIF" else exif
        xmp = body if kind == b"XMP " else xmp
    image = opened_by_pillow("WebP", data[:end])
    return header_of(image, orientation(exif, xmp))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 0
    while place < len(data):
        if place + 8 > len(data):
            raise Damaged("it ends within a chunk")
        kind, length = struct.unpack_from("<4sL", data, place)
        if place + 8 + length > len(data) or not kind.strip(b" ").isalnum():
            raise Damaged("a chunk of it is cut off or overwritten")
        yield kind, data[place + 8 : place + 8 + length]
        place += 8 + length + length % 2


def _has_surplus_zeros(kind: bytes, body: bytes) -> bool:
    """Whether the zeros that pixel data ends in are no data.

    There are no checksums, and the zeros of a hole decode to something flat. But the
    decoder needs every byte that an encoder wrote, and refuses to go on without: what
    it can do without is a hole. And no lossless encoder spends a byte on each pixel of
    a flat area.
    """
    zeros = len(body) - len(body.rstrip(b"\0"))
    if zeros < _SUSPICIOUS_ZEROS:
        return False
    if _decoded(kind, body[: -(zeros // 2)]) is not None:
        return True
    whole = _decoded(kind, body) if kind == b"VP8L" else None
    return whole is not None and zeros > _flat_pixels(whole)


def _decoded(kind: bytes, body: bytes) -> Image.Image | None:
    """The image in a chunk by itself; None if there is too little data."""
    body += bytes(len(body) % 2)
    chunk = b"WEBP" + kind + struct.pack("<L", len(body)) + body
    try:
        image = opened_by_pillow(
            "WebP", b"RIFF" + struct.pack("<L", len(chunk)) + chunk
        )
        image.load()
    except Exception:  # of a kind that differs between releases
        return None
    return image


def _flat_pixels(image: Image.Image) -> int:
    """Pixels at the end that are like the last one."""
    pixels = np.asarray(image.convert("RGBA")).view(np.uint32).ravel()
    others = np.flatnonzero(pixels != pixels[-1])
    return len(pixels) - 1 - int(others[-1]) if others.size else len(pixels)
