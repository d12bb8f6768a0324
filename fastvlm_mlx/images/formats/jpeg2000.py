"""JPEG 2000 (ITU-T T.800): a codestream, bare or in boxes, followed to its end."""

import struct

from .header import Damaged, Header, Unreadable, header_of, opened_by_pillow
from .isobmff import boxes

_CODESTREAM = b"\xff\x4f\xff\x51"
_BOXES = b"\0\0\0\x0cjP  \r\n\x87\n"

_TILE_PART, _END = 0xFF90, 0xFFD9


def matches(data: bytes) -> bool:
    return data.startswith((_CODESTREAM, _BOXES))


def read(data: bytes) -> Header:
    """The first image, all of its tiles there."""
    start = 0
    if not data.startswith(_CODESTREAM):
        found = [box for box in boxes(data, 0, len(data)) if box.kind == b"jp2c"]
        if not found:
            raise Damaged("it ends before its pixels")
        start = found[0].start
    _follow(data, start)
    channels, bits = int.from_bytes(data[start + 40 : start + 42]), data[start + 42]
    bits = 1 + (bits & 0x7F)
    if channels > 1 and bits > 8:
        raise Unreadable(  # white comes out black
            f"is JPEG 2000 with {channels} channels of {bits} bits, which Pillow "
            "decodes wrongly; save it with 8 bits."
        )
    return header_of(opened_by_pillow("Jpeg2K", data))


def _follow(data: bytes, place: int) -> None:
    """From marker to marker, and from tile-part to tile-part, to the last marker."""
    place += 2
    while place + 2 <= len(data):
        (marker,) = struct.unpack_from(">H", data, place)
        if marker == _END:
            return
        if marker >> 8 != 0xFF or place + 12 > len(data):
            break
        (length,) = struct.unpack_from(">H", data, place + 2)
        step = 2 + length
        if marker == _TILE_PART:
            (step,) = struct.unpack_from(">L", data, place + 6)
            if step == 0:  # the last one, whose length was not known
                place = data.rfind(b"\xff\xd9", place + 12)
                continue
        place += step
        if step < 4 or place < 0:
            break
    raise Damaged("it ends before its last marker, or a part of it is overwritten")
