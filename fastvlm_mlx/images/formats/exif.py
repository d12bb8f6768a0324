"""The orientation of an image, from its metadata.

Pillow parses all of EXIF for it, warns about other fields that are damaged, and then
gives up the orientation too.
"""

import re
import struct

_ORIENTATION = 0x0112  # of EXIF and TIFF (CIPA DC-008, table 3)
_INTEGERS = {1: "B", 3: "H", 4: "L"}
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:\s*=\s*["\']|>)\s*([1-8])')


def orientation(exif: bytes | None, xmp: bytes | None = None) -> int:
    """1 to 8, as EXIF numbers them; 1 where nothing is said, or nothing that is known.

    Args:
        exif: a TIFF structure, perhaps behind "Exif" and two zeros.
        xmp: an XML packet, which counts where EXIF has no orientation.
    """
    found = _in_exif(exif or b"")
    if found is None and xmp:
        match = _XMP_ORIENTATION.search(xmp)
        found = int(match[1]) if match else None
    return found if found is not None and 1 <= found <= 8 else 1


def _in_exif(exif: bytes) -> int | None:
    data = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return None
    try:
        (place,) = struct.unpack_from(f"{order}L", data, 4)
        (fields,) = struct.unpack_from(f"{order}H", data, place)
        for start in range(place + 2, place + 2 + 12 * fields, 12):
            tag, kind, _ = struct.unpack_from(f"{order}HHL", data, start)
            if tag == _ORIENTATION and kind in _INTEGERS:
                value = struct.unpack_from(order + _INTEGERS[kind], data, start + 8)
                return int(value[0])
    except struct.error:  # cut off
        pass
    return None
