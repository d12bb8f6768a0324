"""What is in each cell of a picture, as labels for the vision tower.

A visual token sees 64 x 64 pixels: 4 rows of 8 cells, narrow since letters are. The
cell in which a mark's middle falls is labelled with the mark.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from benchmarks.nano.placement import Placement
from benchmarks.nano.tasks.figures import SHAPES
from benchmarks.nano.tasks.palette import NAMED
from benchmarks.nano.tasks.scene import Mark

CELL_HEIGHT, CELL_WIDTH = 16, 8  # Pixels.
SMALLEST = 6  # Pixels; a mark that is lower cannot be told from another.

EMPTY = 0
UNTOLD = -100  # Two marks in one cell, or one too small: nothing is asked there.
CHARACTERS = tuple(chr(code) for code in range(33, 127)) + ("£", "€")
OTHER = len(CHARACTERS) + 1  # A character or a thing that has no label of its own.
THINGS = tuple(f"{color} {shape}" for shape in SHAPES for color in NAMED)
LABELS = {name: place for place, name in enumerate(CHARACTERS, start=1)} | {
    name: place for place, name in enumerate(THINGS, start=OTHER + 1)
}
LABEL_COUNT = 2 + len(CHARACTERS) + len(THINGS)


def cell_labels(
    marks: Iterable[Mark], placement: Placement, resolution: int
) -> npt.NDArray[np.int64]:
    """Label the cells of one square picture.

    Args:
        marks: what is where, in the pixels of the picture as it was drawn.
        placement: where that picture lies in the square.
        resolution: the side S of the square picture.

    Returns:
        (S / 16, S / 8), in order of the picture's rows and columns.
    """
    labels = np.zeros((resolution // CELL_HEIGHT, resolution // CELL_WIDTH), np.int64)
    for mark in marks:
        left, top, right, bottom = mark.box
        x, y = placement.point(mark.middle)
        row, column = int(y // CELL_HEIGHT), int(x // CELL_WIDTH)
        if 0 <= row < labels.shape[0] and 0 <= column < labels.shape[1]:
            free = labels[row, column] == EMPTY
            legible = max(right - left, bottom - top) * placement.scale >= SMALLEST
            name = LABELS.get(mark.label, OTHER)
            labels[row, column] = name if free and legible else UNTOLD
    return labels
