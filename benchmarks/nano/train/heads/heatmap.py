"""Where all figures of a mention are, marked on a grid where the mention ends.

`grounding` has the place of one figure, of several only their number: "how many red
circles?" was wrong one time in three among five and six figures.
"""

from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ...data.conversations import Mention
from ..options import Preset
from .auxiliary import (
    AuxiliaryTask,
    Measures,
    ReadAt,
    Sample,
    mean_or_zero,
    per_mention,
    share,
)
from .grounding import GRID, grid_position

SIDE = 8  # columns and rows of places in the square
PLACES = SIDE * SIDE
RARE = -4.0  # initial scores: one place in sixty is marked


def heatmap_head(preset: Preset) -> nn.Module:
    """A score for every place."""
    head = nn.Linear(preset.hidden, PLACES)
    nn.init.constant_(head.bias, RARE)
    return head


def heatmap_labels(sample: Sample, mention: Mention) -> list[int]:
    """1 at the places of the mention's figures, else 0: PLACES values."""
    labels = [0] * PLACES
    for mark in mention.figures:
        column, row = (at * SIDE // GRID for at in grid_position(mark, sample))
        labels[row * SIDE + column] = 1
    return labels


def loss(head: nn.Module, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Measures]:
    """The loss of (K, PLACES); the share of mentions marked without any mistake."""
    scores = head(hidden).float()
    losses = binary_cross_entropy_with_logits(scores, labels.float(), reduction="none")
    right = ((scores > 0) == (labels > 0)).all(dim=-1)
    shown = labels.any(dim=-1)
    return mean_or_zero(losses.sum(dim=-1)), {"right": share(right[shown])}


HEATMAP = AuxiliaryTask(
    "heatmap",
    per_mention(heatmap_labels, PLACES),
    heatmap_head,
    loss,
    ReadAt.HALF_MENTIONS,
)
