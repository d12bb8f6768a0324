"""The heads that name what is in each small cell of a picture, and their loss.

The tower is told where and what every character is (`labels.py`) long before the
decoder can spell a word. All 32 cells of a visual token are read from it. So are the
cells under each place of the two stages before, where they are fewer per place and a
character is easier to tell: without that the last stages do not get away. Used in
training only.
"""

from benchmarks.nano import torchvision_stub  # noqa: F401  # Before transformers.

# isort: split
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.nano.labels import (
    CELL_HEIGHT,
    CELL_WIDTH,
    EMPTY,
    LABEL_COUNT,
    OTHER,
    UNTOLD,
)
from benchmarks.nano.presets import STRIDE, Preset

# The tower's stages that heads read before the last one, by their stride: each has to
# gather from four times the pixels of the one before.
STAGES = {16: 2, 32: 3}
CELL_FEATURES = 48  # What is kept of a cell before it is named.


class Cells(nn.Module):
    """Turns each place of a feature map into the cells that it covers.

    Args:
        width: channels C of the features.
        stride: pixels of the picture's side that a place covers.
    """

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self._grid = (stride // CELL_HEIGHT, stride // CELL_WIDTH, CELL_FEATURES)
        self.divide = nn.Linear(width, math.prod(self._grid))

    def forward(self, features: Tensor) -> Tensor:
        """Return the cells (P, r, c, CELL_FEATURES) of features (P, C, h, w)."""
        places: Tensor = self.divide(features.permute(0, 2, 3, 1))  # (P, h, w, ...)
        ordered = places.unflatten(-1, self._grid).permute(0, 1, 3, 2, 4, 5)
        cells: Tensor = ordered.flatten(3, 4).flatten(1, 2)
        return cells


class CellHeads(nn.Module):
    """Names what is in the cells, from the visual tokens and from stages before them.

    What a label looks like is learned once, for all cells and all stages; each stage
    only has to say where in its features a cell is.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        widths = {str(stride): preset.widths[STAGES[stride]] for stride in STAGES}
        widths[str(STRIDE)] = preset.vision_width
        self.cells = nn.ModuleDict(
            {stride: Cells(width, int(stride)) for stride, width in widths.items()}
        )
        self.name = nn.Linear(CELL_FEATURES, LABEL_COUNT)
        # Begun at the mean of the labels under the loss below, not at all labels alike:
        # the first hundred steps would learn no more than that.
        nn.init.normal_(self.name.weight, std=0.02)
        nn.init.zeros_(self.name.bias)
        self.name.bias.data[EMPTY] = math.log(LABEL_COUNT)

    def forward(self, stages: Iterable[Tensor]) -> dict[str, Tensor]:
        """Score every label of every cell, once per stage.

        Args:
            stages: features (P, C, h, w), those of the visual tokens last.

        Returns:
            Logits (P, r, c, labels) by stride, the picture's cells in rows and columns.
        """
        read = zip(self.cells.items(), stages, strict=True)
        return {stride: self.name(cells(each)) for (stride, cells), each in read}


def cell_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of characters, things and empty cells, each a mean.

    Nearly all cells are empty, and nearly all others hold characters; in one mean the
    head would learn only those.

    Args:
        logits: float (P, r, c, labels).
        labels: int64 (P, r, c).
    """
    flat, wanted = logits.flatten(0, 2).float(), labels.flatten()
    losses = cross_entropy(flat, wanted, ignore_index=UNTOLD, reduction="none")
    things, empty = wanted >= OTHER, wanted == EMPTY
    characters = (wanted > EMPTY) & ~things
    parts = [
        losses[each].sum() / each.sum().clamp(min=1)
        for each in (characters, things, empty)
    ]
    return torch.stack(parts).sum()


def shares_named(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return the shares of characters and of things that are named rightly."""
    right = logits.argmax(-1) == labels
    things = labels >= OTHER
    characters = (labels > EMPTY) & ~things
    return right[characters].float().mean().item(), right[things].float().mean().item()
