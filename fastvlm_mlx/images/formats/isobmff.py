"""Files made of boxes (ISO/IEC 14496-12), as HEIF and AVIF are: what lies where."""

from collections.abc import Iterator
from dataclasses import dataclass

from .header import Damaged

_SUSPICIOUS_ZEROS = 4

_PRINTABLE = frozenset(range(32, 127))


@dataclass(frozen=True)
class Box:
    kind: bytes
    kind_at: int  # as of an item
    start: int  # of its content
    end: int


@dataclass(frozen=True)
class Item:
    """An image, a tile of one, or metadata."""

    kind: bytes
    kind_at: int  # where the file says so; replacing it hides the item
    extents: tuple[tuple[int, int], ...]  # start and end in the file


def brands(data: bytes) -> set[bytes]:
    """What a file says it is, the major brand among them; empty if it has no boxes."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4]), len(data))
    return {data[8:12]} | {data[at : at + 4] for at in range(16, end - 3, 4)}


def boxes(data: bytes, start: int, end: int) -> Iterator[Box]:
    """The boxes of a part of a file; what follows them and is no box is left out.

    Raises:
        Damaged: one is cut off.
    """
    while start + 8 <= end:
        length, kind = (
            int.from_bytes(data[start : start + 4]),
            data[start + 4 : start + 8],
        )
        content = start + 8
        if length == 1:
            length, content = int.from_bytes(data[content : content + 8]), content + 8
        if not _PRINTABLE.issuperset(kind) or 0 < length < content - start:
            return
        stop = start + length if length else end
        if stop > end:
            raise Damaged(f"its part {kind.decode()} is cut off")
        yield Box(kind, start + 4, content, stop)
        start = stop


def items(data: bytes) -> list[Item]:
    """What the file's metadata lists, with places in the file.

    Raises:
        Damaged: a part of something is not in the file, or nothing is listed.
    """
    parts = _described(data)
    if not parts:
        return []  # an image sequence, without an image beside it
    if not {b"iinf", b"iloc"} <= parts.keys():
        raise Damaged("it does not say where its images are")
    places = dict(_locations(data, parts[b"iloc"]))
    return [
        Item(kind, kind_at, places.get(number, ()))
        for number, kind, kind_at in _entries(data, parts[b"iinf"])
    ]


def references(data: bytes) -> Iterator[Box]:
    """What the file says that items are to one another, such as "cdsc"."""
    parts = _described(data)
    if b"iref" in parts:
        yield from boxes(data, parts[b"iref"].start + 4, parts[b"iref"].end)


def _described(data: bytes) -> dict[bytes, Box]:
    """The parts of the box that describes all images; empty if there is none."""
    for box in boxes(data, 0, len(data)):
        if box.kind == b"meta":
            return {each.kind: each for each in boxes(data, box.start + 4, box.end)}
    return {}


def _entries(data: bytes, box: Box) -> Iterator[tuple[int, bytes, int]]:
    """Number, kind and place of the kind, of the items in a box iinf."""
    counted = 2 if data[box.start] == 0 else 4
    for entry in boxes(data, box.start + 4 + counted, box.end):
        if entry.kind == b"infe" and data[entry.start] in (2, 3):
            wide = 2 if data[entry.start] == 2 else 4
            number = int.from_bytes(data[entry.start + 4 : entry.start + 4 + wide])
            at = entry.start + 4 + wide + 2
            yield number, data[at : at + 4], at


class _Reader:
    """Whole numbers of given widths, one after another."""

    def __init__(self, data: bytes, place: int, end: int) -> None:
        self._data, self._place, self._end = data, place, end

    def __call__(self, width: int) -> int:
        start, self._place = self._place, self._place + width
        if self._place > self._end:
            raise Damaged("the list of its parts is cut off")
        return int.from_bytes(self._data[start : self._place])


def _locations(
    data: bytes, box: Box
) -> Iterator[tuple[int, tuple[tuple[int, int], ...]]]:
    """Start and end of the extents that lie in the file itself, by item."""
    version = data[box.start]
    read = _Reader(data, box.start + 4, box.end)
    widths = read(2)
    offset, length, base = widths >> 12, widths >> 8 & 15, widths >> 4 & 15
    index = widths & 15 if version else 0
    wide = 2 if version < 2 else 4
    for _ in range(read(wide)):
        number = read(wide)
        method = read(2) & 15 if version else 0
        here = read(2) == 0  # and not in another file
        begin, extents = read(base), []
        for _ in range(read(2)):
            read(index)
            start = begin + read(offset)
            extents.append((start, start + read(length)))
        if method == 0 and here:
            if any(end > len(data) for _, end in extents):
                raise Damaged("a part of its pixels is missing")
            yield number, tuple(extents)


def ends_in_zeros(data: bytes, item: Item) -> bool:
    """Whether an item ends as no entropy coder does, but a hole in a file."""
    return any(
        end - start > _SUSPICIOUS_ZEROS and not any(data[end - _SUSPICIOUS_ZEROS : end])
        for start, end in item.extents
    )


def has_hole(data: bytes, item: Item) -> bool:
    """Whether there are zeros in an item of HEVC where it has none.

    A third zero in a row is kept apart by a 3, and no unit ends in a zero (ITU-T
    H.265, 7.4.2); what is left are the lengths of units.
    """
    zeros = bytes(_SUSPICIOUS_ZEROS)
    return any(
        data.find(zeros, start, end) >= 0 or data[end - 1 : end] == b"\0"
        for start, end in item.extents
    )
