"""TIFF files of every kind, written here: no library at hand writes them all."""

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

DEFLATE, PACKBITS = 8, 32773


def tiff(
    samples: Array,
    bits: int = 8,
    photometric: int = 1,
    *,
    order: str = "<",
    big: bool = False,
    planar: int = 1,
    compression: int = 1,
    predictor: int = 1,
    rows: int | None = None,
    tile: int | None = None,
    fill_order: int = 1,
    fields: dict[int, list[int]] | None = None,
) -> bytes:
    """A file of one image.

    Args:
        samples: (H, W) or (H, W, S), whole numbers of so many bits.
        rows: of a strip; None is all of them.
        tile: its side in pixels, a multiple of 16, instead of strips.
        fields: more of them.
    """
    samples = samples.reshape(*samples.shape[:2], -1)
    height, width, count = samples.shape
    planes = [samples] if planar == 1 else np.split(samples, count, axis=2)
    parts = [
        _packed(part, bits, order, predictor, compression, fill_order)
        for plane in planes
        for part in _parts(plane, rows or height, tile)
    ]
    start = 16
    offsets = [start + sum(map(len, parts[:n])) for n in range(len(parts))]
    lengths = [len(part) for part in parts]
    all_fields: dict[int, list[int]] = {
        256: [width],
        257: [height],
        258: [bits] * count,
        259: [compression],
        262: [photometric],
        277: [count],
        284: [planar],
        317: [predictor],
    }
    if fill_order != 1:
        all_fields[266] = [fill_order]
    if tile:
        all_fields |= {322: [tile], 323: [tile], 324: offsets, 325: lengths}
    else:
        all_fields |= {273: offsets, 278: [rows or height], 279: lengths}
    body = b"".join(parts)
    return _file(body + bytes(len(body) % 2), all_fields | (fields or {}), order, big)


def _parts(plane: Array, rows: int, tile: int | None) -> list[Array]:
    height, width, _ = plane.shape
    if tile is None:
        return [plane[top : top + rows] for top in range(0, height, rows)]
    room = ((0, -height % tile), (0, -width % tile), (0, 0))
    padded = np.pad(plane, room)
    return [
        padded[top : top + tile, left : left + tile]
        for top in range(0, height, tile)
        for left in range(0, width, tile)
    ]


def _packed(
    part: Array, bits: int, order: str, predictor: int, compression: int, fill: int
) -> bytes:
    if predictor == 2:
        part = np.diff(part, axis=1, prepend=0) & ((1 << bits) - 1)
    height = part.shape[0]
    if bits == 16:
        data = part.astype(f"{order}u2").tobytes()
    else:
        each = part.reshape(height, -1, 1) >> np.arange(bits - 1, -1, -1) & 1
        ones = each.reshape(height, -1).astype(np.uint8)
        bit_order: Any = "big" if fill == 1 else "little"
        data = np.packbits(ones, axis=1, bitorder=bit_order).tobytes()
    if compression == DEFLATE:
        return zlib.compress(data)
    if compression == PACKBITS:  # as literals
        pieces = [data[at : at + 128] for at in range(0, len(data), 128)]
        return b"".join(bytes([len(piece) - 1]) + piece for piece in pieces)
    return data


def _file(body: bytes, fields: dict[int, list[int]], order: str, big: bool) -> bytes:
    wide, inline = ("Q", 8) if big else ("L", 4)
    start = 16 + len(body)
    mark = b"II" if order == "<" else b"MM"
    version = (
        struct.pack(f"{order}HHH", 43, 8, 0) if big else struct.pack(f"{order}H", 42)
    )
    head = (mark + version + struct.pack(order + wide, start)).ljust(16, b"\0")
    entries = struct.pack(order + ("Q" if big else "H"), len(fields))
    beyond = start + len(entries) + len(fields) * (4 + 2 * inline) + inline
    values = b""
    for tag, numbers in sorted(fields.items()):
        kind, code = (3, "H") if max(numbers) < 1 << 16 else (4, "L")
        data = struct.pack(f"{order}{len(numbers)}{code}", *numbers)
        entries += struct.pack(f"{order}HH{wide}", tag, kind, len(numbers))
        if len(data) <= inline:
            entries += data.ljust(inline, b"\0")
        else:
            entries += struct.pack(order + wide, beyond + len(values))
            values += data + bytes(len(data) % 2)
    return head + body + entries + bytes(inline) + values
