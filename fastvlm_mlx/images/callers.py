"""Images that a caller opened with PIL.

One that was opened and not yet loaded is still a file. Its bytes then go the same way
as those of any file: PIL would start Ghostscript for a page of EPS, and take half a PNG
for a whole one.
"""

from typing import Any

from PIL import ExifTags, Image, ImageFile

from ..errors import ImageError
from .formats import NAMES, format_of
from .formats.exif import orientation
from .formats.header import Damaged, Header, Unreadable, header_of


def header_of_callers(image: Image.Image) -> Header:
    """The header of an image, loaded or not; the image itself is left alone.

    Raises:
        Damaged: its file is not whole.
        ImageError: its file is of no format that is read here.
    """
    if not isinstance(image, ImageFile.ImageFile) or _is_loaded(image):
        return header_of(image, _orientation(image))
    data = _data_of(image)
    found = format_of(data)
    if found is None:
        raise ImageError(
            f"the image is an opened file of the format {image.format}, which is not "
            f"read here; call its load() first, or save it as one of {NAMES}."
        )
    try:
        header = found.read(data)
    except Damaged:
        raise
    except Unreadable as error:
        raise ImageError(f"the image {error}") from None
    except Exception as error:  # as of any damaged header
        raise Damaged(str(error)) from None
    if _is_as_opened(image, header):
        return Header(header.size, header.decode, header.orientation)
    return header_of(image, _orientation(image))


def _is_loaded(image: ImageFile.ImageFile) -> bool:
    """Whether its pixels are in memory; stubs of Pillow never are."""
    if image.tile or isinstance(image, ImageFile.StubImageFile):
        return False
    try:
        return image.im is not None
    except Exception:  # of a kind that differs between releases
        return False


def _data_of(image: ImageFile.ImageFile) -> bytes:
    file: Any = image.fp
    try:
        place = file.tell()
        file.seek(0)
        data = file.read()
        file.seek(place)
    except (AttributeError, OSError, ValueError):
        raise ImageError(
            "the image was closed before it was loaded, so it is cut off from its "
            "file; call its load() first, or give the file."
        ) from None
    return bytes(data)


def _is_as_opened(image: ImageFile.ImageFile, header: Header) -> bool:
    """Whether no other frame was chosen, and no smaller size."""
    return image.tell() == 0 and sorted(image.size) == sorted(header.size)


def _orientation(image: Image.Image) -> int:
    """Damaged metadata does not spoil a good image."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # the parser raises nearly anything, its warnings included
        return orientation(image.info.get("exif"))
    return found if found in range(1, 9) else 1
