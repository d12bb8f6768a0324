"""A picture as one request sees it: known by digest, decoded only when that is needed.

A file that was seen before is recognised by its bytes, so the second question about
it decodes nothing. The bytes are read once: what is digested is what is decoded, even
if the file changes meanwhile.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from .decode import ImageSource, PictureFile, open_image, read_file
from .resize import TILES, Fit, Pixels, overview_and_tiles, prepare

Lap = Callable[[str], None]
"""Called with the name of a part of Timings when it ends."""

_REMEMBERED_FILES = 4096

ANYRES_VIEWS = 1 + TILES**2


@dataclass(frozen=True)
class Look:
    """Everything besides the file that decides the prepared pixels."""

    size: tuple[int, int]  # (H, W) in pixels, of each view
    mode: Fit
    exact: bool = False  # every pixel of a large JPEG is decoded
    anyres: bool = False  # an overview, then the tiles of twice the size

    @property
    def views(self) -> int:
        """Pictures of `size` that the encoder sees."""
        return ANYRES_VIEWS if self.anyres else 1

    @property
    def whole_size(self) -> tuple[int, int]:
        """(H, W) that the picture is prepared at: of all tiles together."""
        scale = TILES if self.anyres else 1
        return scale * self.size[0], scale * self.size[1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the prepared pixels: (H, W, 3), or (views, H, W, 3)."""
        return (self.views, *self.size, 3) if self.anyres else (*self.size, 3)


class Picture:
    """A picture brought to the model's size, or the file that it will be made of."""

    def __init__(
        self, digest: str, look: Look, pixels: Pixels | None, file: PictureFile | None
    ) -> None:
        self.digest = digest
        self.look = look
        self._pixels = pixels
        self._file = file

    def pixels(self, lap: Lap) -> Pixels:
        """(H, W, 3) uint8; with AnyRes (views, H, W, 3), the overview first."""
        if self._pixels is None:
            assert self._file is not None
            self._pixels = _prepare(self._file, self.look, lap)
        return self._pixels

    @classmethod
    def of_pixels(cls, pixels: Pixels, look: Look) -> Self:
        """A picture from pixels (uint8, of `look.shape`) that were prepared before."""
        return cls(pixel_digest(pixels), look, pixels, None)


class Pictures:
    """Opens pictures; remembers digests of files, never the pictures."""

    def __init__(self) -> None:
        self._digests: OrderedDict[tuple[str, Look], str] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, source: ImageSource | PictureFile, look: Look, lap: Lap) -> Picture:
        """Find out which picture this is.

        Raises:
            ImageError: as `open_image`.
        """
        file = read_file(source)
        if file is None:
            return Picture.of_pixels(_prepare(source, look, lap), look)
        name = hashlib.sha256(file.data).hexdigest(), look
        known = self._digests.get(name)
        lap("load_image")
        if known is not None:
            return Picture(known, look, None, file)
        picture = Picture.of_pixels(_prepare(file, look, lap), look)
        self._remember(name, picture.digest)
        return picture

    def _remember(self, name: tuple[str, Look], digest: str) -> None:
        with self._lock:
            self._digests[name] = digest
            if len(self._digests) > _REMEMBERED_FILES:
                self._digests.popitem(last=False)


def pixel_digest(pixels: Pixels) -> str:
    """SHA-256 over the values and the shape of prepared pixels."""
    digest = hashlib.sha256(f"{pixels.shape} ".encode())
    digest.update(pixels.tobytes())
    return digest.hexdigest()


def _prepare(source: ImageSource | PictureFile, look: Look, lap: Lap) -> Pixels:
    image = open_image(source, None if look.exact else look.whole_size, look.mode)
    lap("load_image")
    prepared = overview_and_tiles if look.anyres else prepare
    pixels = prepared(image, look.size, look.mode)
    lap("preprocess")
    return pixels
