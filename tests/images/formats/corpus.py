"""Whole files of all formats that are read, of the kinds that people have."""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from tests.images.formats.png_files import GREY, PALETTE, RGB, chunk, png
from tests.images.formats.tiff_files import tiff
from tests.images.samples import encoded, oriented, smooth

HEIF = Path(__file__).parents[1] / "heif_files"

IMAGE = smooth()
_PIXELS = np.asarray(IMAGE)
_GREY = np.asarray(IMAGE.convert("L"))
_OTHER = IMAGE.transpose(Image.Transpose.ROTATE_180)
_CLEAR = IMAGE.convert("RGBA")
_CLEAR.putalpha(Image.linear_gradient("L").resize(IMAGE.size))
_BITS = IMAGE.convert("1")
_PALETTE = IMAGE.convert("P", palette=Image.Palette.ADAPTIVE)

_NUMBERS = [b"%d" % value for value in _PIXELS.ravel()[:-1]]

FILM = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\xff\xd9\xff\xd8\xff\0" * 99
"""What some phones append to a photo: the seconds around it."""


def _exif_with_thumbnail() -> bytes:
    """EXIF that holds a whole JPEG, with its own last marker."""
    thumbnail = encoded(_OTHER.resize((16, 12)), "JPEG")
    exif = oriented(1)
    exif.get_ifd(ExifTags.IFD.IFD1)
    tiff_data = exif.tobytes().removeprefix(b"Exif\0\0")
    return b"Exif\0\0" + tiff_data + thumbnail


def _cursor() -> bytes:
    """An icon whose kind says cursor; planes and bits are then a place to click."""
    data = bytearray(encoded(IMAGE.resize((32, 32)), "ICO", bitmap_format="bmp"))
    data[2] = 2
    for at in range(6, 6 + 16 * data[4], 16):
        data[at + 4 : at + 8] = struct.pack("<HH", 3, 5)
    return bytes(data)


FILES: dict[str, bytes] = {
    "PNG": encoded(IMAGE),
    "PNG of 1 bit": png(_GREY >> 7, 1, GREY),
    "PNG of 2 bits": png(_GREY >> 6, 2, GREY),
    "PNG of 4 bits": png(_GREY >> 4, 4, GREY),
    "PNG of 16 bits": png(_PIXELS.astype(int) * 257, 16, RGB),
    "PNG, interlaced": png(_PIXELS, 8, RGB, interlaced=True),
    "PNG in pieces": png(_PIXELS, 8, RGB, pieces=7, before=chunk(b"tEXt", b"a\0b")),
    "PNG with a palette": png(
        _GREY >> 5,
        4,
        PALETTE,
        before=chunk(b"PLTE", bytes(range(24))) + chunk(b"tRNS", b"\0\x80\xff"),
    ),
    "APNG": encoded(IMAGE, save_all=True, append_images=[_OTHER]),
    "JPEG": encoded(IMAGE, "JPEG", quality=90),
    "JPEG, progressive": encoded(IMAGE, "JPEG", progressive=True),
    "JPEG with restarts": encoded(IMAGE, "JPEG", restart_marker_rows=1),
    "JPEG, grey": encoded(IMAGE.convert("L"), "JPEG"),
    "JPEG of inks": encoded(IMAGE.convert("CMYK"), "JPEG"),
    "JPEG with a thumbnail": encoded(IMAGE, "JPEG", exif=_exif_with_thumbnail()),
    "JPEG, arithmetic": (Path(__file__).parent / "arithmetic.jpg").read_bytes(),
    "MPO": encoded(IMAGE, "MPO", save_all=True, append_images=[_OTHER]),
    "motion photo": encoded(IMAGE, "JPEG") + FILM,
    "WebP": encoded(smooth(200, 150), "WEBP", quality=98),
    "WebP, lossless": encoded(IMAGE, "WEBP", lossless=True),
    "WebP, transparent": encoded(_CLEAR, "WEBP", exif=oriented(1)),
    "WebP, animated": encoded(IMAGE, "WEBP", save_all=True, append_images=[_OTHER]),
    "GIF": encoded(_PALETTE, "GIF", interlace=0),
    "GIF, interlaced": encoded(_PALETTE, "GIF", interlace=1),
    "GIF, transparent": encoded(_PALETTE, "GIF", transparency=3),
    "GIF, animated": encoded(_PALETTE, "GIF", save_all=True, append_images=[_OTHER]),
    "AVIF": encoded(IMAGE, "AVIF"),
    "AVIF, transparent": encoded(_CLEAR, "AVIF"),
    "TIFF": encoded(IMAGE, "TIFF"),
    "TIFF, LZW": encoded(IMAGE, "TIFF", compression="tiff_lzw"),
    "TIFF, Deflate": encoded(IMAGE, "TIFF", compression="tiff_adobe_deflate"),
    "TIFF, PackBits": encoded(IMAGE, "TIFF", compression="packbits"),
    "TIFF, JPEG": encoded(IMAGE, "TIFF", compression="jpeg"),
    "TIFF, group 3": encoded(_BITS, "TIFF", compression="group3"),
    "TIFF, group 4": encoded(_BITS, "TIFF", compression="group4"),
    "TIFF in strips": tiff(_PIXELS, photometric=2, rows=7),
    "TIFF in tiles": tiff(_PIXELS, photometric=2, tile=16),
    "TIFF in planes": tiff(_PIXELS, photometric=2, planar=2, rows=16),
    "TIFF of 12 bits": tiff(_GREY.astype(int) * 16, 12, 1, rows=5, compression=8),
    "BigTIFF": tiff(_PIXELS, photometric=2, big=True, order=">"),
    "BMP": encoded(IMAGE, "BMP"),
    "BMP of 8 bits": encoded(_PALETTE, "BMP"),
    "BMP of 1 bit": encoded(_BITS, "BMP"),
    "DIB": encoded(IMAGE, "DIB"),
    "JPEG 2000": encoded(IMAGE, "JPEG2000"),
    "JPEG 2000, bare": encoded(IMAGE, "JPEG2000", no_jp2=True),
    "JPEG 2000 in tiles": encoded(IMAGE, "JPEG2000", tile_size=(32, 32)),
    "PPM": encoded(IMAGE, "PPM"),
    "PGM of 16 bits": encoded(Image.fromarray(_GREY.astype(np.int32) * 257), "PPM"),
    "PBM": encoded(_BITS, "PPM"),
    "PPM as text": b"P3\n64 48\n255\n" + b" ".join(_NUMBERS) + b" 7\n",
    "TGA": encoded(IMAGE, "TGA"),
    "TGA, packed": encoded(IMAGE, "TGA", compression="tga_rle"),
    "TGA with a palette": encoded(_PALETTE, "TGA"),
    "ICO": encoded(IMAGE.resize((64, 64)), "ICO", sizes=[(16, 16), (64, 64)]),
    "ICO of bitmaps": encoded(IMAGE.resize((32, 32)), "ICO", bitmap_format="bmp"),
    "CUR": _cursor(),
    "PCX": encoded(IMAGE, "PCX"),
    "SGI": encoded(IMAGE, "SGI"),
    "QOI": encoded(IMAGE, "QOI"),
    **{f"HEIF, {each.stem}": each.read_bytes() for each in sorted(HEIF.glob("*.heic"))},
}

LAX = {"TGA", "TGA, packed", "TGA with a palette", "motion photo", "MPO"}
"""Files that end in something else than the image, which may be missing."""
LAX |= {
    "TIFF, group 3",
    "TIFF, group 4",
    "BigTIFF",
    "PPM as text",
}  # of which bits are no pixels

NO_CHECKSUM = {
    *(name for name in FILES if name.split()[0] in ("BMP", "DIB", "PPM", "PGM", "PBM")),
    *("TGA", "TGA, packed", "TGA with a palette", "PCX", "SGI"),
    *("TIFF", "TIFF in strips", "TIFF in tiles", "TIFF in planes", "BigTIFF"),
    *("ICO of bitmaps", "CUR"),
} - {"PPM as text"}
"""Files in which zeros are as good as any other pixels."""


def as_pillow_has_it(data: bytes) -> Image.Image:
    """What Pillow alone makes of a whole file, where it reads that kind rightly."""
    image = Image.open(io.BytesIO(data))
    image.load()
    if not image.has_transparency_data:
        return image.convert("RGB")
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")
