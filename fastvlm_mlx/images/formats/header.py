"""What the reader of a format gives: the header of an image, and a way to decode it."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from PIL import Image

Size = tuple[int, int]
"""(W, H) in pixels, as PIL has it."""


class Damaged(Exception):
    """Data of the image is missing or wrong; says what."""


class Unreadable(Exception):
    """A whole file of a kind that is not read; says which, and what to do."""


@dataclass(frozen=True)
class Header:
    """An image of which nothing was decoded."""

    size: Size  # as stored, before it is turned upright
    decode: Callable[[], Image.Image]  # raises nearly anything on damaged data
    orientation: int = 1  # by EXIF, 1 to 8: what `decode` leaves to be done
    draft: Callable[[Size], bool] = lambda size: False
    """Have it decoded near to a smaller size; whether the decoder can do that."""


def opened_by_pillow(plugin: str, data: bytes, kind: str = "") -> Image.Image:
    """Let one plugin of Pillow read a header.

    Image.open would ask other plugins too, of which some start programs (EPS), and
    would warn about large images.

    Args:
        plugin: as in the name of its module: "Png" of PIL.PngImagePlugin.
        kind: as in the name of its class, where that is another one.
    """
    module = import_module(f"PIL.{plugin}ImagePlugin")
    image = getattr(module, f"{kind or plugin}ImageFile")(io.BytesIO(data))
    assert isinstance(image, Image.Image)
    return image


def header_of(image: Image.Image, orientation: int = 1) -> Header:
    """The header of an image that Pillow opened."""

    def decode() -> Image.Image:
        image.load()
        return image

    return Header(image.size, decode, orientation)
