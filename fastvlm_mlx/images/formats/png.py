"""PNG (ISO/IEC 15948): checked chunk by chunk, since Pillow takes bad pixel data."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from .exif import orientation
from .header import Damaged, Header, Unreadable, opened_by_pillow

MAGIC = b"\x89PNG\r\n\x1a\n"

_DECISIVE = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
"""Chunks that decide the pixels; Pillow sees no others, and warns about none."""

_GREY, _RGB = 0, 2
_CHANNELS = {_GREY: 1, _RGB: 3, 3: 1, 4: 2, 6: 4}

_PASSES = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
"""First column and row, and the steps to the next ones, of an interlaced image."""

_INFLATED_AT_ONCE = 1 << 20

_LONGEST_METADATA = 1 << 20


def matches(data: bytes) -> bool:
    return data.startswith(MAGIC)


def read(data: bytes) -> Header:
    """The default image, whole by the checksums of all that it is made of."""
    kept, exif, xmp = [MAGIC], b"", b""
    for kind, chunk in _chunks(data):
        body = memoryview(chunk)[8:-4]
        if kind in _DECISIVE:
            if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):
                raise Damaged(f"the checksum of a chunk {kind.decode()} is wrong")
            kept.append(chunk)
        elif not kind[0] & 0x20:  # capital: an image is not understood without it
            raise Unreadable(f"is a PNG with chunks {kind!r}; save it as a plain PNG.")
        elif kind == b"eXIf":
            exif = bytes(body)
        elif kind in (b"iTXt", b"tEXt", b"zTXt"):
            keyword, text = _text(kind, bytes(body))
            if keyword == b"XML:com.adobe.xmp":
                xmp = text
            elif keyword.startswith(b"Raw profile type") and not exif:
                exif = _raw_profile(text)
    image = opened_by_pillow("Png", b"".join(kept))
    _correct_transparency(image, kept[1])

    def decode() -> Image.Image:
        image.load()
        if _ends_black(image) and _bytes_of_pixels(kept) < _bytes_needed(kept[1]):
            raise Damaged("it holds fewer pixels than it says")
        return image

    return Header(image.size, decode, orientation(exif, xmp))


def _ends_black(image: Image.Image) -> bool:
    """As Pillow leaves rows for which there was no data, interlaced ones too."""
    last_odd = max(0, image.height - 1 - image.height % 2)
    return any(
        not np.asarray(image.crop((0, row, image.width, row + 1))).any()
        for row in (image.height - 1, last_odd)
    )


def _bytes_of_pixels(chunks: list[bytes]) -> int:
    inflate = zlib.decompressobj()
    found = 0
    for chunk in chunks:
        rest = chunk[8:-4] if chunk[4:8] == b"IDAT" else b""
        while rest:
            found += len(inflate.decompress(rest, _INFLATED_AT_ONCE))
            rest = inflate.unconsumed_tail
    return found


def _bytes_needed(first: bytes) -> int:
    """Of all rows of all passes, each with the number of its filter."""
    width, height, bits, colours, _, _, interlaced = struct.unpack_from(
        ">LLBBBBB", first, 8
    )
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    needed = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            needed += rows * (1 + -(-columns * _CHANNELS[colours] * bits // 8))
    return needed


def _correct_transparency(image: Image.Image, first: bytes) -> None:
    """Bring the transparent colour to the 8 bits that Pillow brings the pixels to."""
    bits, colours = first[16], first[17]
    transparent = image.info.get("transparency")
    if colours == _GREY and bits in (2, 4):
        if isinstance(transparent, int):
            image.info["transparency"] = transparent * 255 // ((1 << bits) - 1)
    elif colours == _RGB and bits == 16 and isinstance(transparent, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in transparent)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and whole chunk of each, with its length and checksum, up to the last."""
    place, kind = len(MAGIC), b""
    while kind != b"IEND":
        if place + 12 > len(data):
            raise Damaged("it ends before its last chunk")
        length, kind = struct.unpack_from(">L4s", data, place)
        end = place + 12 + length
        if end > len(data) or not kind.isalpha():
            raise Damaged("it ends within a chunk, or a chunk is overwritten")
        yield kind, data[place:end]
        place = end


def _text(kind: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Keyword and text of a text chunk; no text if it is damaged or very long."""
    keyword, _, rest = body.partition(b"\0")
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        packed = rest[:1] == b"\1"
        rest = rest[2:].split(b"\0", 2)[-1]  # behind language and translation
    elif packed:
        rest = rest[1:]
    if not packed:
        return keyword, rest
    try:
        return keyword, zlib.decompressobj().decompress(rest, _LONGEST_METADATA)
    except zlib.error:
        return keyword, b""


def _raw_profile(text: bytes) -> bytes:
    """EXIF as ImageMagick writes it: a name, a length, and hexadecimal digits."""
    try:
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode())
    except ValueError:
        return b""
