"""An image as one request sees it: known by digest, decoded only when that is needed.

A file that was seen before is recognised by its bytes, so the second question about
it decodes nothing. The bytes are read once: what is digested is what is decoded, even
if the file changes meanwhile.
"""

import hashlib
import threading
from collections import OrderedDict
from typing import Self

from ..config import FastVLMConfig
from ..options import GenerationOptions
from ..timings import Lap
from . import resolution
from .decode import ImageFile, ImageSource, open_image, read_file, upright_size
from .preprocessing import Preprocessing
from .resize import Pixels, overview_and_tiles, prepare

_REMEMBERED_FILES = 4096


class OpenedImage:
    """An image brought to the model's size, or the file that it will be made of."""

    def __init__(
        self,
        digest: str,
        prep: Preprocessing,
        pixels: Pixels | None,
        file: ImageFile | None,
    ) -> None:
        self.digest = digest
        self.preprocessing = prep
        self._pixels = pixels
        self._file = file

    def pixels(self, lap: Lap) -> Pixels:
        """(H, W, 3) uint8; with AnyRes (views, H, W, 3), the overview first."""
        if self._pixels is None:
            assert self._file is not None
            self._pixels = _prepare(self._file, self.preprocessing, lap)
        return self._pixels

    @classmethod
    def of_pixels(cls, pixels: Pixels, prep: Preprocessing) -> Self:
        """An image from pixels (uint8, of `prep.shape`) that were prepared before."""
        return cls(pixel_digest(pixels), prep, pixels, None)


def with_preprocessing(
    source: ImageSource, config: FastVLMConfig, options: GenerationOptions
) -> tuple[ImageSource, Preprocessing]:
    """An image and its preprocessing; its file is read if its size decides.

    Raises:
        ImageError: as `open_image`, where its header shows it.
        OptionError, PromptError: as `choose_preprocessing` and `positions`.
    """
    size = None
    if resolution.depends_on_image(options):
        source = read_file(source) or source  # what is measured is what is decoded
        size = upright_size(source)
    prep = resolution.choose_preprocessing(config, options, size)
    resolution.positions(config, prep)  # no image is opened to be refused
    return source, prep


class ImageOpener:
    """Opens images; remembers digests of files, never the images."""

    def __init__(self) -> None:
        self._digests: OrderedDict[tuple[str, Preprocessing], str] = OrderedDict()
        self._lock = threading.Lock()

    def open(
        self, source: ImageSource | ImageFile, prep: Preprocessing, lap: Lap
    ) -> OpenedImage:
        """Find out which image this is.

        Raises:
            ImageError: as `open_image`.
        """
        file = read_file(source)
        if file is None:
            return OpenedImage.of_pixels(_prepare(source, prep, lap), prep)
        name = hashlib.sha256(file.data).hexdigest(), prep
        known = self._digests.get(name)
        lap("load_image")
        if known is not None:
            return OpenedImage(known, prep, None, file)
        image = OpenedImage.of_pixels(_prepare(file, prep, lap), prep)
        self._remember(name, image.digest)
        return image

    def _remember(self, name: tuple[str, Preprocessing], digest: str) -> None:
        with self._lock:
            self._digests[name] = digest
            if len(self._digests) > _REMEMBERED_FILES:
                self._digests.popitem(last=False)


def pixel_digest(pixels: Pixels) -> str:
    """SHA-256 over the values and the shape of prepared pixels."""
    digest = hashlib.sha256(f"{pixels.shape} ".encode())
    digest.update(pixels.tobytes())
    return digest.hexdigest()


def _prepare(source: ImageSource | ImageFile, prep: Preprocessing, lap: Lap) -> Pixels:
    image = open_image(source, None if prep.exact else prep.whole_size, prep.mode)
    lap("load_image")
    prepared = overview_and_tiles if prep.anyres else prepare
    pixels = prepared(image, prep.size, prep.mode)
    lap("preprocess")
    return pixels
