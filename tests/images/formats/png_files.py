"""PNG files of every kind, written here: Pillow writes few of them."""

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"\x89PNG\r\n\x1a\n"

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6

_PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)]
_PASSES += [(0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
"""First column and row, and steps, of the passes of an interlaced file."""


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    body = kind + data
    return struct.pack(">L", len(data)) + body + struct.pack(">L", zlib.crc32(body))


def png(
    samples: NDArray[Any],
    bits: int,
    colours: int,
    *,
    before: bytes = b"",
    after: bytes = b"",
    interlaced: bool = False,
    pieces: int = 1,
) -> bytes:
    """A file of one image.

    Args:
        samples: (H, W) or (H, W, S), whole numbers of so many bits.
        before: chunks before the pixels, such as the palette.
        after: chunks behind them.
        pieces: chunks that the pixels are spread over.
    """
    samples = samples.reshape(*samples.shape[:2], -1)
    height, width, _ = samples.shape
    passes = _PASSES if interlaced else [(0, 0, 1, 1)]
    rows = b"".join(
        b"\0" + _packed(row, bits)
        for left, top, across, down in passes
        for row in samples[top::down, left::across]
        if row.size
    )
    data = zlib.compress(rows)
    step = -(-len(data) // pieces)
    parts = [data[at : at + step] for at in range(0, len(data), step)]
    head = struct.pack(">LLBBBBB", width, height, bits, colours, 0, 0, interlaced)
    pixels = b"".join(chunk(b"IDAT", part) for part in parts)
    return MAGIC + chunk(b"IHDR", head) + before + pixels + after + chunk(b"IEND")


def _packed(row: NDArray[Any], bits: int) -> bytes:
    if bits == 16:
        return row.astype(">u2").tobytes()
    each = row.reshape(-1, 1) >> np.arange(bits - 1, -1, -1) & 1
    return np.packbits(each.astype(np.uint8)).tobytes()
