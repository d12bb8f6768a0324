"""Windows icons and cursors: the largest image of a file that holds several."""

import io
import struct
from typing import NamedTuple

from PIL import Image

from . import png
from .header import Damaged, Header, Unreadable

_ENTRY = 16
_LARGEST = 4096
"""A side that no bitmap of an icon has; larger ones are PNG."""


class _Entry(NamedTuple):
    width: int
    height: int
    bits: int
    start: int
    end: int


def matches(data: bytes) -> bool:
    """Both begin with two zeros and a 1 or 2, which is little; so the list is read."""
    if data[:4] not in (b"\0\0\1\0", b"\0\0\2\0") or len(data) < 6:
        return False
    count = int.from_bytes(data[4:6], "little")
    return count > 0 and all(place == 0 for place in data[9 : 6 + _ENTRY : _ENTRY])


def read(data: bytes) -> Header:
    """The image of most pixels; of those, the one of most bits."""
    entries = _entries(data)
    for entry in entries:
        if entry.end > len(data):
            raise Damaged("one of its images is missing")
    largest = max(entries, key=lambda e: (e.width * e.height, e.bits))
    found = data[largest.start : largest.end]
    return png.read(found) if png.matches(found) else _bitmap(found)


def _entries(data: bytes) -> list[_Entry]:
    count = int.from_bytes(data[4:6], "little")
    if 6 + count * _ENTRY > len(data):
        raise Damaged("it ends within the list of its images")
    found = []
    for at in range(6, 6 + count * _ENTRY, _ENTRY):
        width, height, _, _, _, bits, length, start = struct.unpack_from(
            "<BBBBHHLL", data, at
        )
        found.append(_Entry(width or 256, height or 256, bits, start, start + length))
    return found


def _bitmap(found: bytes) -> Header:
    """A bitmap with its mask below it, as an icon of its own that says what it is."""
    if len(found) < 40 or int.from_bytes(found[:4], "little") < 40:
        raise Unreadable("holds a bitmap of a kind that is not read; save it as PNG.")
    width, double, _, bits = struct.unpack_from("<llHH", found, 4)
    size = width, double // 2
    if not (0 < min(size) and max(size) <= _LARGEST):
        raise Damaged(f"its image says that it has {size[0]}x{size[1]} pixels")
    entry = struct.pack(
        "<BBBBHHLL", size[0] & 255, size[1] & 255, 0, 0, 1, bits, len(found), 22
    )
    alone = b"\0\0\1\0\1\0" + entry + found

    def decode() -> Image.Image:
        from PIL.IcoImagePlugin import IcoFile

        image = IcoFile(io.BytesIO(alone)).frame(0)
        image.load()
        return image

    return Header(size, decode)
