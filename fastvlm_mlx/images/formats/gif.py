"""GIF (89a): the first image, of a file that goes on to its trailer."""

from .header import Damaged, Header, header_of, opened_by_pillow

_IMAGE, _EXTENSION, _TRAILER = 0x2C, 0x21, 0x3B
_GRAPHIC_CONTROL = 0xF9
_HAS_TABLE, _TABLE_SIZE = 0x80, 0x07


def matches(data: bytes) -> bool:
    return data.startswith((b"GIF87a", b"GIF89a"))


def read(data: bytes) -> Header:
    """The first image with its transparency, without what animates it."""
    place = 13 + _table(data, 10)
    screen, control, first = data[:place], b"", b""
    while (kind := _byte(data, place)) != _TRAILER:
        start = place
        if kind == _EXTENSION:
            place = _behind_blocks(data, place + 2)
            if data[start + 1] == _GRAPHIC_CONTROL:
                control = data[start:place]
        elif kind == _IMAGE:
            place = _behind_blocks(data, place + 11 + _table(data, place + 9))
            first = first or control + data[start:place]
        elif kind == 0:  # between blocks, as some encoders write it
            place += 1
        else:
            raise Damaged("a block of it is overwritten")
    if not first:
        raise Damaged("it holds no image")
    return header_of(opened_by_pillow("Gif", screen + first + bytes([_TRAILER])))


def _byte(data: bytes, place: int) -> int:
    if place >= len(data):
        raise Damaged("it ends before its trailer")
    return data[place]


def _table(data: bytes, flags: int) -> int:
    """Bytes of the colour table that some flags announce."""
    found = _byte(data, flags)
    return 3 << ((found & _TABLE_SIZE) + 1) if found & _HAS_TABLE else 0


def _behind_blocks(data: bytes, place: int) -> int:
    while length := _byte(data, place):
        place += 1 + length
    return place + 1
