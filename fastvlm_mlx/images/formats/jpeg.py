"""JPEG (ITU-T T.81): the first image of a file, followed to its last marker.

libjpeg fills what is missing with grey and only warns, and Pillow does not pass the
warning on.
"""

import struct
from collections.abc import Iterator

import numpy as np

from .exif import orientation
from .header import Damaged, Header, Size, Unreadable, header_of, opened_by_pillow

MAGIC = b"\xff\xd8\xff"

_START_OF_SCAN, _END = 0xDA, 0xD9
_APP0, _APP1, _APP14, _APP15, _COMMENT = 0xE0, 0xE1, 0xEE, 0xEF, 0xFE
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_BETWEEN_SCANS = {0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, _COMMENT, *range(0xE0, 0xF0)}
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"

_BLOCK = 1 << 20
"""Bytes searched for markers at a time: what follows the image may be a film."""


def matches(data: bytes) -> bool:
    return data.startswith(MAGIC)


def read(data: bytes) -> Header:
    """The first image; those that phones append (MPO, motion photos) do not matter."""
    kept, exif, xmp, scan = [data[:2]], b"", b"", 2
    for marker, place, end in _segments(data):
        body = data[place + 4 : end]
        scan = end
        if marker == _APP1:
            if body.startswith(_EXIF):  # may go on in another segment
                exif += body.removeprefix(_EXIF)
            elif body.startswith(_XMP):
                xmp = body.removeprefix(_XMP)
        elif marker in (_APP0, _APP14) or not _APP0 <= marker <= _APP15:
            if marker in _FRAMES and body[:1] != b"\x08":
                raise Unreadable(f"is JPEG of {body[0]} bits; save it with 8 bits.")
            if marker != _COMMENT:
                kept.append(data[place:end])
    kept.append(data[scan : _end_of_scans(data, scan)])
    image = opened_by_pillow("Jpeg", b"".join(kept))

    def draft(size: Size) -> bool:
        return image.draft(None, size) is not None

    header = header_of(image, orientation(exif, xmp))
    return Header(header.size, header.decode, header.orientation, draft)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, place and end of each segment, up to the header of the first scan."""
    place, marker = 2, 0
    while marker != _START_OF_SCAN:
        while data[place : place + 2] == b"\xff\xff":  # fill bytes
            place += 1
        if place + 4 > len(data):
            raise Damaged("it ends within its header")
        prefix, marker, length = struct.unpack_from(">BBH", data, place)
        end = place + 2 + length
        if prefix != 0xFF or marker in (0, _END) or length < 2 or end > len(data):
            raise Damaged("its header is cut off or overwritten")
        yield marker, place, end
        place = end


def check_whole(data: bytes) -> None:
    """Refuse an image that ends before its last marker.

    Raises:
        Damaged: it does.
    """
    *_, (_, _, scan) = _segments(data)
    _end_of_scans(data, scan)


def _end_of_scans(data: bytes, place: int) -> int:
    """Where the image ends, behind its last marker.

    Args:
        place: behind the header of its first scan.

    Raises:
        Damaged: there is no such marker, or something between the scans is none.
    """
    while True:
        place = _next_marker(data, place)
        marker = data[place + 1]
        if marker == _END:
            return place + 2
        if marker not in _BETWEEN_SCANS:
            raise Damaged(f"there is a marker {marker:#x} among its pixels")
        place += 2 + int.from_bytes(data[place + 2 : place + 4])


def _next_marker(data: bytes, place: int) -> int:
    """The next 0xFF that is not data (a zero follows), a fill byte or a restart."""
    while place + 1 < len(data):
        block = np.frombuffer(data, np.uint8, min(_BLOCK, len(data) - place), place)
        found = np.flatnonzero(block[:-1] == 0xFF)
        after = block[found + 1]
        marks = found[
            (after != 0) & (after != 0xFF) & ((after < 0xD0) | (after > 0xD7))
        ]
        if marks.size:
            return place + int(marks[0])
        place += len(block) - 1
    raise Damaged("it ends before its last marker")
