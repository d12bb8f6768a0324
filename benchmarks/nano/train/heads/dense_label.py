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
)
from benchmarks.nano.means import mean_or_zero
from benchmarks.nano.presets import STRIDE, Preset

# The tower's stages that heads read before the last one, by their stride: each has to
# gather from four times the pixels of the one before.
STAGES = {16: 2, 32: 3}
CELL_FEATURES = 48  # What is kept of a cell before it is named.
EMPTY_EVERY = 8  # Of the empty cells, nearly all there are, one in so many is named.


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

    def forward(self, stages: Iterable[Tensor], chosen: Tensor) -> dict[str, Tensor]:
        """Score every label of some cells, once per stage.

        Args:
            stages: features (P, C, h, w), those of the visual tokens last.
            chosen: int64 (K,), places among all P * r * c cells of the pictures.

        Returns:
            Logits (K, labels) by stride.
        """
        return {
            stride: self.name(cells(each).flatten(0, 2)[chosen])
            for (stride, cells), each in zip(self.cells.items(), stages, strict=True)
        }


def cells_to_name(labels: Tensor) -> Tensor:
    """Return the places (K,) of all marks that are told and of some empty cells.

    To name all the empty ones took a sixth of a step.

    Args:
        labels: int64 (P, r, c).
    """
    flat = labels.flatten()
    marks, empty = (flat > EMPTY).nonzero()[:, 0], (flat == EMPTY).nonzero()[:, 0]
    return torch.cat([marks, empty[::EMPTY_EVERY]])


def cell_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of characters, things and empty cells, each a mean.

    Nearly all cells are empty, and nearly all others hold characters; in one mean the
    head would learn only those.

    Args:
        logits: float (K, labels).
        labels: int64 (K,).
    """
    losses = cross_entropy(logits.float(), labels, reduction="none")
    things, empty = labels >= OTHER, labels == EMPTY
    characters = ~things & ~empty
    parts = [mean_or_zero(losses[each]) for each in (characters, things, empty)]
    return torch.stack(parts).sum()


def shares_named(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return the shares of characters and of things that are named rightly."""
    right = logits.argmax(-1) == labels
    things = labels >= OTHER
    characters = (labels > EMPTY) & ~things
    return right[characters].float().mean().item(), right[things].float().mean().item()
