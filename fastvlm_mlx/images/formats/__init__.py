"""The formats of images that are read: which, how they are known, who reads them.

Each is a raster. None has another program started, nothing of the file is believed
without its format's reader having looked, and Pillow decodes what that reader found to
be the image.
"""

from collections.abc import Callable
from dataclasses import dataclass

from . import avif, gif, heif, icon, jpeg, jpeg2000, plain, png, tiff, webp
from .header import Header


@dataclass(frozen=True)
class Format:
    name: str
    suffixes: str
    matches: Callable[[bytes], bool]  # by how the data begins
    read: Callable[[bytes], Header]  # raises Damaged, Unreadable, or nearly anything


FORMATS = (
    Format("PNG", ".png .apng", png.matches, png.read),
    Format("JPEG", ".jpg .jpeg .jpe .jfif .mpo", jpeg.matches, jpeg.read),
    Format("WebP", ".webp", webp.matches, webp.read),
    Format("GIF", ".gif", gif.matches, gif.read),
    Format("HEIF", ".heic .heif .hif .heics .heifs", heif.matches, heif.read),
    Format("AVIF", ".avif .avifs", avif.matches, avif.read),
    Format("TIFF", ".tif .tiff", tiff.matches, tiff.read),
    Format("BMP", ".bmp", plain.is_bmp, plain.read_bmp),
    Format(
        "JPEG 2000",
        ".jp2 .j2k .j2c .jpc .jpf .jpx",
        jpeg2000.matches,
        jpeg2000.read,
    ),
    Format("PNM", ".ppm .pgm .pbm .pnm", plain.is_pnm, plain.read_pnm),
    Format("QOI", ".qoi", plain.is_qoi, plain.read_qoi),
    Format("SGI", ".sgi .rgb .rgba .bw", plain.is_sgi, plain.read_sgi),
    Format("PCX", ".pcx", plain.is_pcx, plain.read_pcx),
    # what little these begin with is also found elsewhere, so they come last
    Format("ICO", ".ico .cur", icon.matches, icon.read),
    Format("DIB", ".dib", plain.is_dib, plain.read_dib),
    Format("TGA", ".tga .icb .vda .vst", plain.is_tga, plain.read_tga),
)

SUFFIXES = frozenset(suffix for each in FORMATS for suffix in each.suffixes.split())
"""How the names of image files end, in small letters."""

NAMES = ", ".join(each.name for each in FORMATS)


def format_of(data: bytes) -> Format | None:
    """The format of an image file, by how it begins; None if it is of none of them."""
    return next((each for each in FORMATS if each.matches(data)), None)
