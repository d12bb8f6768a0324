"""The first directory of a TIFF file (TIFF 6.0, section 2; and BigTIFF)."""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .header import Damaged

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
FILL_ORDER, STRIP_OFFSETS, ORIENTATION, SAMPLES = 266, 273, 274, 277
ROWS_PER_STRIP, STRIP_BYTES, PLANAR, PREDICTOR, PALETTE = 278, 279, 284, 317, 320
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 322, 323, 324, 325
EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES = 338, 339, 347

_LONG8 = 16
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, _LONG8: 8}
_INTEGERS = {1: "B", 3: "H", 4: "L", _LONG8: "Q"}

_SINGLE = {
    *(WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, FILL_ORDER, SAMPLES, PLANAR),
    *(ROWS_PER_STRIP, ORIENTATION, PREDICTOR, TILE_WIDTH, TILE_HEIGHT),
    *(292, 293, 332),  # options of T4 and T6, inks
}
"""Of these one value counts, however many there are."""

_DECISIVE = _SINGLE | {
    *(BITS, STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES, PALETTE),
    *(EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES),
    *(512, 513, 514, 515, 517, 518, 519, 520, 521),  # JPEG of the old kind
    *(529, 530, 531, 532),  # YCbCr
}
"""Fields that decide the pixels. Pillow sees no others, and warns about none."""


@dataclass(frozen=True)
class Field:
    kind: int
    data: bytes  # the values, in the file's byte order

    def integers(self, order: str) -> tuple[int, ...]:
        code = _INTEGERS.get(self.kind)
        if code is None:
            return ()
        count = len(self.data) // _SIZES[self.kind]
        return struct.unpack(f"{order}{count}{code}", self.data)


@dataclass(frozen=True)
class Directory:
    """What a file says of its first image."""

    order: str  # of bytes, as struct has it
    big: bool
    fields: Mapping[int, Field]

    def all(self, tag: int) -> tuple[int, ...]:
        return self.fields[tag].integers(self.order) if tag in self.fields else ()

    def one(self, tag: int, default: int) -> int:
        return next(iter(self.all(tag)), default)


def read_directory(data: bytes) -> Directory:
    """The fields that decide the pixels.

    Raises:
        Damaged: the directory or one of them is not in the file.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    count_code, entry_code, inline = ("Q", "HHQ", 8) if big else ("H", "HHL", 4)
    fields: dict[int, Field] = {}
    try:
        (place,) = struct.unpack_from(order + ("Q" if big else "L"), data, inline)
        (count,) = struct.unpack_from(order + count_code, data, place)
        place += struct.calcsize(order + count_code)
        for _ in range(count):
            tag, kind, length = struct.unpack_from(order + entry_code, data, place)
            at = place + struct.calcsize(order + entry_code)
            place = at + inline
            if tag == kind == 0:
                raise Damaged("the list of its fields is overwritten")
            if tag not in _DECISIVE or kind not in _SIZES or tag in fields:
                continue
            length = _SIZES[kind] * (min(length, 1) if tag in _SINGLE else length)
            if length > inline:
                (at,) = struct.unpack_from(order + ("Q" if big else "L"), data, at)
            if at + length > len(data):
                raise Damaged(f"its field {tag} is cut off")
            fields[tag] = Field(kind, data[at : at + length])
    except struct.error:
        raise Damaged("it ends before the list of its fields") from None
    return Directory(order, big, fields)


def with_fields(data: bytes, order: str, fields: Mapping[int, Field]) -> bytes:
    """The file with a directory of these fields alone, and no other.

    It is a TIFF even if it was a BigTIFF, of which Pillow reads one byte order only.
    """
    start = len(data) + len(data) % 2
    body = struct.pack(f"{order}H", len(fields))
    beyond = start + len(body) + 12 * len(fields) + 4
    values = b""
    for tag, each in sorted(fields.items()):
        if each.kind == _LONG8:
            each = field(order, each.integers(order))
        body += struct.pack(
            f"{order}HHL", tag, each.kind, len(each.data) // _SIZES[each.kind]
        )
        if len(each.data) <= 4:
            body += each.data.ljust(4, b"\0")
        else:
            body += struct.pack(f"{order}L", beyond + len(values))
            values += each.data + bytes(len(each.data) % 2)
    head = data[:2] + struct.pack(f"{order}HL", 42, start)
    rest, even = memoryview(data)[len(head) :], bytes(start - len(data))
    return b"".join([head, rest, even, body, bytes(4), values])


def field(order: str, values: Iterable[int]) -> Field:
    """Whole numbers as a field."""
    numbers = [*values]
    return Field(4, struct.pack(f"{order}{len(numbers)}L", *numbers))
