"""A drawn image as the model sees it: a padded square, its visual tokens and cells.

The pixels are those of the runtime in mode "pad". A visual token has 4 rows of 8 cells,
narrow like letters.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastvlm_mlx.images.resize import prepare

from .tasks.figures import OBJECTS
from .tasks.scene import Mark, Point

STRIDE = 64  # pixels of the image's side that one visual token covers
CELL_HEIGHT, CELL_WIDTH = 16, 8  # pixels
LEGIBLE = 6  # pixels; smaller marks look alike

IGNORED = -100  # a label that is not trained; PyTorch's default
EMPTY = 0
CHARACTERS = tuple(chr(code) for code in range(33, 127)) + ("£", "€")
OTHER = len(CHARACTERS) + 1  # a mark without a label of its own
LABELS = {name: place for place, name in enumerate(CHARACTERS, start=1)} | {
    name: place for place, name in enumerate(OBJECTS, start=OTHER + 1)
}
LABEL_COUNT = 2 + len(CHARACTERS) + len(OBJECTS)


@dataclass(frozen=True)
class Square:
    """An image padded to a square on black and resized to S x S pixels."""

    pixels: NDArray[np.uint8]  # (3, S, S)
    scale: float  # pixels of the square per pixel of the drawn image
    offset: tuple[int, int]  # padding left and on top, in pixels of the drawn image

    @property
    def resolution(self) -> int:
        """Its side S in pixels."""
        return int(self.pixels.shape[-1])

    @property
    def tokens(self) -> int:
        """The number of its visual tokens."""
        return image_tokens(self.resolution)

    def point(self, drawn: Point) -> Point:
        """Where a point of the drawn image lies, in pixels of the square."""
        left, top = self.offset
        return (drawn[0] + left) * self.scale, (drawn[1] + top) * self.scale

    def token(self, drawn: Point) -> int:
        """The index of the visual token that holds a point of the drawn image."""
        side = self.resolution // STRIDE
        column, row = (
            min(max(int(at) // STRIDE, 0), side - 1) for at in self.point(drawn)
        )
        return row * side + column


def image_tokens(resolution: int) -> int:
    """The number of visual tokens of a square image of this side in pixels."""
    return (resolution // STRIDE) ** 2


def square(image: Image.Image, resolution: int) -> Square:
    """Pad an RGB image to a square on black and resize it."""
    side = max(image.size)
    pixels = prepare(image, (resolution, resolution), "pad")
    offset = ((side - image.width) // 2, (side - image.height) // 2)
    return Square(pixels.transpose(2, 0, 1), resolution / side, offset)


def read_square(path: Path, resolution: int) -> NDArray[np.uint8]:
    """Read an image file and make it a square: uint8 (3, S, S)."""
    with Image.open(path) as opened:
        return square(opened.convert("RGB"), resolution).pixels


def cell_labels(marks: Iterable[Mark], image: Square) -> NDArray[np.int64]:
    """Label each cell (S / 16, S / 8) by the mark whose middle it holds.

    Values of `LABELS`, OTHER or EMPTY; IGNORED where two marks share a cell or one is
    too small.
    """
    side = image.resolution
    labels = np.zeros((side // CELL_HEIGHT, side // CELL_WIDTH), np.int64)
    for mark in marks:
        left, top, right, bottom = mark.box
        x, y = image.point(mark.middle)
        row, column = int(y // CELL_HEIGHT), int(x // CELL_WIDTH)
        if 0 <= row < labels.shape[0] and 0 <= column < labels.shape[1]:
            free = labels[row, column] == EMPTY
            legible = max(right - left, bottom - top) * image.scale >= LEGIBLE
            name = LABELS.get(mark.label, OTHER)
            labels[row, column] = name if free and legible else IGNORED
    return labels
