"""How an image is brought to pixels, and what that comes to: values, no files.

Nothing here knows how images are decoded, so the loop that generates may use it.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..config import ImageMode
from ..device.backend import mx

Size: TypeAlias = tuple[int, int]
"""(H, W) in pixels."""

Fit: TypeAlias = ImageMode | Literal["stretch"]
"""How an image fills a frame; "stretch" is for a frame of nearly the image's shape."""

TILES = 2
"""AnyRes cuts an image into so many rows and columns (FastVLM, arXiv 2412.13303)."""

ANYRES_VIEWS = 1 + TILES**2


@dataclass(frozen=True)
class Preprocessing:
    """Everything besides the file that decides the prepared pixels."""

    size: Size  # of each view
    mode: Fit
    exact: bool = False  # every pixel of a large JPEG is decoded
    anyres: bool = False  # an overview, then the tiles of twice the size

    @property
    def views(self) -> int:
        """Arrays of `size` that the encoder sees."""
        return ANYRES_VIEWS if self.anyres else 1

    @property
    def whole_size(self) -> Size:
        """(H, W) that the image is prepared at: of all tiles together."""
        scale = TILES if self.anyres else 1
        return scale * self.size[0], scale * self.size[1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the prepared pixels: (H, W, 3), or (views, H, W, 3)."""
        return (self.views, *self.size, 3) if self.anyres else (*self.size, 3)


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """How one image of a prompt was preprocessed."""

    resolution: Size  # of each view
    views: int  # 1, or with AnyRes the overview and its tiles
    tokens: int  # visual tokens, of all views
    outside_training: bool  # a size, a shape or views that training never saw


@dataclass(frozen=True)
class EncodedImage:
    """An image as the language model sees it, perhaps still being computed."""

    digest: str
    image_embeds: mx.array  # (N, D)
    image_features: mx.array | None  # (1, N, C); None if it was encoded before
