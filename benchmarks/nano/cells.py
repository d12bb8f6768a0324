"""The heads that name what is in each small cell of a picture, and their loss.

The tower is told where and what every character is (`labels.py`) long before the
decoder can spell a word. One linear head reads all 32 cells of a visual token from it.
A second one does the same halfway up the tower, where a place sees 16 x 16 pixels, two
cells: there a character is easy to tell, and what is left to the last stages is to
gather. Used in training only.
"""

from benchmarks.nano import torchvision_stub  # noqa: F401  # Before transformers.

# isort: split
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.nano.labels import (
    CELL_HEIGHT,
    CELL_WIDTH,
    EMPTY,
    LABEL_COUNT,
    UNTOLD,
)
from benchmarks.nano.presets import STRIDE, Preset

MIDDLE_STAGE, MIDDLE_STRIDE = 2, 16  # The tower's stage that the second head reads.


class CellHead(nn.Module):
    """Names what is in the cells that each place of a feature map covers.

    Args:
        width: channels C of the features.
        stride: pixels of the picture's side that a place covers.
    """

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self._grid = (stride // CELL_HEIGHT, stride // CELL_WIDTH, LABEL_COUNT)
        self.name = nn.Linear(width, self._grid[0] * self._grid[1] * LABEL_COUNT)
        # Begun at the mean of the labels under the loss below, not at all labels alike:
        # the first hundred steps would learn no more than that.
        nn.init.zeros_(self.name.weight)
        bias = torch.zeros(self._grid)
        bias[..., EMPTY] = math.log(LABEL_COUNT)
        self.name.bias.data.copy_(bias.flatten())

    def forward(self, features: Tensor) -> Tensor:
        """Score every label of every cell.

        Args:
            features: (P, C, h, w).

        Returns:
            Logits (P, r, c, labels), the picture's cells in rows and columns.
        """
        scores: Tensor = self.name(features.permute(0, 2, 3, 1))  # (P, h, w, ...)
        ordered = scores.unflatten(-1, self._grid).permute(0, 1, 3, 2, 4, 5)
        cells: Tensor = ordered.flatten(3, 4).flatten(1, 2)
        return cells


class CellHeads(nn.Module):
    """The head on the visual tokens and the one halfway up the tower."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.middle = CellHead(preset.widths[MIDDLE_STAGE], MIDDLE_STRIDE)
        self.last = CellHead(preset.vision_width, STRIDE)


def cell_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of filled cells plus that of empty ones, each a mean.

    Nearly all cells are empty; in one mean the head would learn only that.

    Args:
        logits: float (P, r, c, labels).
        labels: int64 (P, r, c).
    """
    flat = logits.flatten(0, 2).float()
    losses = cross_entropy(
        flat, labels.flatten(), ignore_index=UNTOLD, reduction="none"
    )
    filled, empty = (labels > EMPTY).flatten(), (labels == EMPTY).flatten()
    filled_loss = losses[filled].sum() / filled.sum().clamp(min=1)
    return filled_loss + losses[empty].mean()


def share_named(logits: Tensor, labels: Tensor) -> float:
    """Return the share of the cells with something in them that are named rightly."""
    filled = labels > EMPTY
    return (logits.argmax(-1) == labels)[filled].float().mean().item()
