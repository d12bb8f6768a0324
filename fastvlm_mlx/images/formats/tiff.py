"""TIFF: the first image, shown to Pillow without the metadata around it.

Pillow reads few of the kinds with more than 8 bits, and those each in its own way
(12 bits come out black). So all of them are brought to 8 bits here, as a TIFF again,
which then goes the road of all others.
"""

from collections.abc import Sequence
from dataclasses import replace
from types import MethodType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from . import jpeg
from . import tiff_fields as tags
from .header import Damaged, Header, Unreadable, opened_by_pillow
from .libtiff import quiet
from .tiff_fields import Directory, Field, field, read_directory, with_fields

_RAW, _JPEG, _FAX = 1, 7, (2, 3, 4)
_BYTEWISE = {_RAW, 5, 8, 32946, 32773, 34925, 50000}
"""Compressions of bytes: none, LZW, Deflate (two numbers), PackBits, LZMA, Zstd."""

_INVERTED, _GREY, _COLOURS, _FROM_PALETTE, _INKS, _SUBSAMPLED = 0, 1, 2, 3, 5, 6
_KNOWN = (_INVERTED, _GREY, _COLOURS, _FROM_PALETTE, _INKS)
_UNSIGNED, _SIGNED, _FLOATS = 1, 2, 3

_MOST_SAMPLES, _WIDEST_TILE = 6, 4096
"""More would take memory that the image itself does not; Pillow reads as many."""

_ROWS_AT_ONCE = 256

_TURNED_ROUND = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

Samples = NDArray[np.uint16]


def matches(data: bytes) -> bool:
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") and len(data) >= 8


def read(data: bytes) -> Header:
    """The first image; what its fields say, and that its strips are all there."""
    found = read_directory(data)
    size = found.one(tags.WIDTH, 0), found.one(tags.HEIGHT, 0)
    bits = found.one(tags.BITS, 1)
    kind = found.one(tags.SAMPLE_FORMAT, _UNSIGNED)
    if kind == _FLOATS:
        raise Unreadable("holds floating-point pixels; save it with 8 bits.")
    if kind == _SIGNED and bits < 32:
        raise Unreadable("holds signed pixels; save it with unsigned 8 or 16 bits.")
    if min(size) == 0:
        raise Damaged("its header gives no size")
    if found.one(tags.SAMPLES, 1) > _MOST_SAMPLES:
        raise _unknown(found)
    _check_parts(data, found)
    if (found.one(tags.FILL_ORDER, 1), found.one(tags.COMPRESSION, _RAW)) == (2, _RAW):
        data, found = _lowest_bit_last(data, found)
    turn = found.one(tags.ORIENTATION, 1)
    fields = {t: f for t, f in found.fields.items() if t != tags.ORIENTATION}
    found = replace(found, fields=fields)
    if 8 < bits <= 16:
        _check_readable(found, bits)
        return Header(size, lambda: _pixels(_in_eight_bits(data, found), found), turn)
    plain = with_fields(data, found.order, fields)
    image = _opened(plain, found)
    return Header(image.size, lambda: _loaded(image), turn)


def _lowest_bit_last(data: bytes, found: Directory) -> tuple[bytes, Directory]:
    """Turn the bits of bytes round, which Pillow does for some kinds only."""
    head = 16 if found.big else 8
    fields = {tag: f for tag, f in found.fields.items() if tag != tags.FILL_ORDER}
    return data[:head] + data[head:].translate(_TURNED_ROUND), replace(
        found, fields=fields
    )


def _pixels(data: bytes, found: Directory) -> Image.Image:
    return _loaded(_opened(data, found))


def _opened(data: bytes, found: Directory) -> Image.Image:
    try:
        image = opened_by_pillow("Tiff", data)
    except (KeyError, SyntaxError, TypeError, ValueError, OSError):
        raise _unknown(found) from None
    # its own makes the same room, and warns about that of large images
    image.load_prepare = MethodType(ImageFile.ImageFile.load_prepare, image)  # type: ignore[attr-defined]
    return image


def _unknown(found: Directory) -> Unreadable:
    return Unreadable(
        f"is a TIFF of a kind that is not read (compression "
        f"{found.one(tags.COMPRESSION, 1)}, colours {found.one(tags.PHOTOMETRIC, 0)}, "
        f"bits {found.all(tags.BITS) or (1,)}); save it as PNG."
    )


def _loaded(image: Image.Image) -> Image.Image:
    with quiet():
        image.load()
    return image


def _check_parts(data: bytes, found: Directory) -> None:
    """Refuse a file that ends before its strips or tiles do."""
    compression = found.one(tags.COMPRESSION, _RAW)
    parts = _parts(found)
    if compression == _RAW and found.one(tags.PHOTOMETRIC, 0) != _SUBSAMPLED:
        # some files count rows that the last strip does not have
        need = _raw_bytes(found, len(parts))
        parts = [(o, o + n) for (o, _), n in zip(parts, need, strict=True)]
    tables = (
        found.fields[tags.JPEG_TABLES].data if tags.JPEG_TABLES in found.fields else b""
    )
    if tables and not tables.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise Damaged("the tables of its pixels are missing")
    for start, end in parts:
        if start < 8 or start >= len(data) or end > len(data):
            raise Damaged("a part of its pixels is missing")
        part = data[start:end]
        if compression == _JPEG and part.startswith(jpeg.MAGIC):
            jpeg.check_whole(part)
        if compression in _FAX and part.endswith(bytes(4)):
            raise Damaged("a part of its pixels is zeros that mean nothing")


def _parts(found: Directory) -> list[tuple[int, int]]:
    """Start and end of each strip or tile; its start twice where no length is given."""
    tiled = tags.TILE_OFFSETS in found.fields
    offsets = found.all(tags.TILE_OFFSETS if tiled else tags.STRIP_OFFSETS)
    lengths = found.all(tags.TILE_BYTES if tiled else tags.STRIP_BYTES)
    lengths += (0,) * (len(offsets) - len(lengths))
    return [(o, o + n) for o, n in zip(offsets, lengths, strict=False)]


def _raw_bytes(found: Directory, parts: int) -> list[int]:
    """Bytes that each strip or tile takes that is not compressed."""
    width, height = found.one(tags.WIDTH, 0), found.one(tags.HEIGHT, 0)
    together = found.one(tags.PLANAR, 1) == 1
    samples = found.one(tags.SAMPLES, 1) if together else 1
    row = -(-found.one(tags.TILE_WIDTH, width) * samples * found.one(tags.BITS, 1) // 8)
    if tags.TILE_OFFSETS in found.fields:
        return [row * found.one(tags.TILE_HEIGHT, height)] * parts
    rows = max(1, min(found.one(tags.ROWS_PER_STRIP, height), height))
    strips = -(-height // rows)
    last = height - rows * (strips - 1)
    return [row * (last if n % strips == strips - 1 else rows) for n in range(parts)]


# --- more than 8 bits -------------------------------------------------------------


def _check_readable(found: Directory, bits: int) -> None:
    width = found.one(tags.WIDTH, 0)
    predictor = found.one(tags.PREDICTOR, 1)
    readable = (
        set(found.all(tags.BITS)) == {bits},
        found.one(tags.COMPRESSION, _RAW) in _BYTEWISE,
        found.one(tags.PHOTOMETRIC, 0) in _KNOWN,
        predictor == 1 or (predictor, bits) == (2, 16),
        found.one(tags.SAMPLES, 1) > 0,
        0 < found.one(tags.TILE_WIDTH, width) <= max(width, _WIDEST_TILE),
    )
    if not all(readable):
        raise _unknown(found)


def _in_eight_bits(data: bytes, found: Directory) -> bytes:
    """The same image as a TIFF of 8 bits, not compressed."""
    bits, order = found.one(tags.BITS, 16), found.order
    width, height = found.one(tags.WIDTH, 0), found.one(tags.HEIGHT, 0)
    samples = _samples(data, found, bits)
    fields = {
        tag: value
        for tag, value in found.fields.items()
        if tag in (tags.WIDTH, tags.HEIGHT, tags.PHOTOMETRIC, tags.EXTRA_SAMPLES)
    }
    if found.one(tags.PHOTOMETRIC, 0) == _FROM_PALETTE:
        pixels = _looked_up(samples, found, bits)
        fields[tags.PHOTOMETRIC] = field(order, [_COLOURS])
        fields.pop(tags.EXTRA_SAMPLES, None)
    else:
        most = (1 << bits) - 1
        pixels = ((samples.astype(np.uint32) * 255 + most // 2) // most).astype(
            np.uint8
        )
    count = pixels.shape[2]
    fields[tags.BITS] = field(order, [8] * count)
    fields[tags.SAMPLES] = field(order, [count])
    fields[tags.ROWS_PER_STRIP] = field(order, [height])
    fields[tags.STRIP_OFFSETS] = field(order, [16])
    fields[tags.STRIP_BYTES] = field(order, [pixels.size])
    assert pixels.shape == (height, width, count)
    return with_fields(data[:16].ljust(16) + pixels.tobytes(), order, fields)


def _looked_up(samples: Samples, found: Directory, bits: int) -> NDArray[np.uint8]:
    table = np.array(found.all(tags.PALETTE), np.uint32)
    if len(table) != 3 << bits:
        raise Damaged("its palette is not whole")
    colours = (table.reshape(3, -1).T >> 8).astype(np.uint8)
    return colours[samples[:, :, 0]]


def _samples(data: bytes, found: Directory, bits: int) -> Samples:
    """(H, W, S), whatever order and packing the file has them in."""
    count = found.one(tags.SAMPLES, 1)
    if found.one(tags.PLANAR, 1) == 1:
        return _plane(data, found, bits, count, slice(None))
    parts = len(_parts(found)) // count
    planes = [
        _plane(data, found, bits, 1, slice(n * parts, (n + 1) * parts))
        for n in range(count)
    ]
    return np.concatenate(planes, axis=2)


def _plane(
    data: bytes, found: Directory, bits: int, count: int, parts: slice
) -> Samples:
    """(H, W, count) of some strips or tiles.

    Their bytes are unpacked by Pillow, which is shown the file as one of 8 bits and
    grey, as wide as a row has bytes.
    """
    width, height = found.one(tags.WIDTH, 0), found.one(tags.HEIGHT, 0)
    across = found.one(tags.TILE_WIDTH, width)  # of a tile, or of a strip
    row = -(-across * count * bits // 8)
    tiles = -(-width // across)
    view = _as_bytes(found, row, tiles, parts)
    with quiet():
        image = _opened(with_fields(data, found.order, view), found)
        image.load()
    rows = np.asarray(image)
    samples = np.empty((height, tiles * across, count), np.uint16)
    for first in range(0, height, _ROWS_AT_ONCE):
        block = rows[first : first + _ROWS_AT_ONCE].reshape(-1, row)
        numbers = _unpacked(block, bits, across * count, found.order)
        numbers = numbers.reshape(-1, across, count)
        if found.one(tags.PREDICTOR, 1) == 2:  # each is a difference to the one before
            numbers = np.cumsum(numbers, axis=1, dtype=np.uint16)
        samples[first : first + _ROWS_AT_ONCE] = numbers.reshape(
            -1, tiles * across, count
        )
    return samples[:, :width]


def _as_bytes(found: Directory, row: int, tiles: int, parts: slice) -> dict[int, Field]:
    """Fields that say of the same strips or tiles that they hold bytes."""
    fields = dict(found.fields)
    for tag in (tags.PREDICTOR, tags.PALETTE, tags.EXTRA_SAMPLES, tags.SAMPLE_FORMAT):
        fields.pop(tag, None)
    changed: dict[int, Sequence[int]] = {
        tags.WIDTH: [row * tiles],
        tags.BITS: [8],
        tags.SAMPLES: [1],
        tags.PHOTOMETRIC: [_GREY],
        tags.PLANAR: [1],
    }
    if tags.TILE_WIDTH in fields:
        changed[tags.TILE_WIDTH] = [row]
    for tag in (
        tags.STRIP_OFFSETS,
        tags.STRIP_BYTES,
        tags.TILE_OFFSETS,
        tags.TILE_BYTES,
    ):
        if tag in fields:
            changed[tag] = found.all(tag)[parts]
    return fields | {tag: field(found.order, v) for tag, v in changed.items()}


def _unpacked(rows: NDArray[np.uint8], bits: int, count: int, order: str) -> Samples:
    """(N, count) from rows of bytes; the highest bit is the first one."""
    if bits == 16:
        wide = np.ascontiguousarray(rows[:, : 2 * count])
        return wide.view(f"{order}u2").astype(np.uint16)
    start = np.arange(count) * bits
    padded = np.pad(rows, ((0, 0), (0, 2))).astype(np.uint32)
    byte, bit = start // 8, start % 8
    three = padded[:, byte] << 16 | padded[:, byte + 1] << 8 | padded[:, byte + 2]
    values = three >> (24 - bits - bit).astype(np.uint32) & ((1 << bits) - 1)
    return values.astype(np.uint16)
