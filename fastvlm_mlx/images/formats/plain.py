"""Formats of which a cut-off file is refused by Pillow, and which have no metadata.

Most have no checksum and no end either: where their pixels are overwritten by zeros,
that is black, and nobody can tell.
"""

import struct

from .header import Damaged, Header, header_of, opened_by_pillow

_QOI_END = bytes(7) + b"\1"


def is_bmp(data: bytes) -> bool:
    return data.startswith(b"BM")


def read_bmp(data: bytes) -> Header:
    return header_of(opened_by_pillow("Bmp", data))


def is_dib(data: bytes) -> bool:
    """A bitmap without the file's header: known by its own length, planes and bits."""
    if len(data) < 16:
        return False
    (length,) = struct.unpack_from("<L", data)
    at = 8 if length == 12 else 12
    planes, bits = struct.unpack_from("<HH", data, at)
    known = length in (12, 40, 52, 56, 64, 108, 124)
    return known and planes == 1 and bits in (1, 4, 8, 16, 24, 32)


def read_dib(data: bytes) -> Header:
    return header_of(opened_by_pillow("Bmp", data, "Dib"))


def is_pnm(data: bytes) -> bool:
    """PBM, PGM and PPM; also PFM, whose pixels are refused when they are decoded."""
    known = data[:2] in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf")
    return known and data[2:3].isspace()


def read_pnm(data: bytes) -> Header:
    return header_of(opened_by_pillow("Ppm", data))


def is_qoi(data: bytes) -> bool:
    return data.startswith(b"qoif")


def read_qoi(data: bytes) -> Header:
    if _QOI_END not in data[14:]:
        raise Damaged("it ends before its end mark")
    return header_of(opened_by_pillow("Qoi", data))


def is_pcx(data: bytes) -> bool:
    known = data[:1] == b"\x0a" and len(data) > 3 and data[1] in (0, 2, 3, 4, 5)
    return known and data[2] == 1 and data[3] in (1, 2, 4, 8)


def read_pcx(data: bytes) -> Header:
    return header_of(opened_by_pillow("Pcx", data))


def is_sgi(data: bytes) -> bool:
    known = data[:2] == b"\x01\xda" and len(data) > 5
    return known and data[2] in (0, 1) and data[3] in (1, 2) and data[4:6] <= b"\0\3"


def read_sgi(data: bytes) -> Header:
    return header_of(opened_by_pillow("Sgi", data))


def is_tga(data: bytes) -> bool:
    """There is nothing to know it by but a header that makes sense."""
    if len(data) < 18:
        return False
    mapped, kind = data[1], data[2]
    width, height = struct.unpack_from("<HH", data, 12)
    mapping = data[7] in (15, 16, 24, 32) if mapped == 1 else not any(data[3:8])
    known = mapped in (0, 1) and kind in (1, 2, 3, 9, 10, 11) and mapping
    depth = data[16] in (8, 15, 16, 24, 32) and data[17] < 64
    return known and depth and width > 0 and height > 0


def read_tga(data: bytes) -> Header:
    return header_of(opened_by_pillow("Tga", data))
