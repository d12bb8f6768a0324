"""What is in every cell of an image, named by the tower; the first object per token.

Cells are read from the visual tokens and from the two stages before, where a place
covers fewer of them. The stages share the names: with a head each the last one named
every tenth cell in the time in which the shared one learned them all.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...data.square import (
    CELL_HEIGHT,
    CELL_WIDTH,
    CHARACTERS,
    EMPTY,
    IGNORED,
    LABEL_COUNT,
    LABELS,
    OTHER,
    STRIDE,
    cell_labels,
)
from ...data.tasks.figures import OBJECTS
from ..options import Preset
from .auxiliary import AuxiliaryTask, Measures, ReadAt, Sample, balanced, share

STAGES = {16: 2, 32: 3}  # by stride, the tower's stages read before the visual tokens
CELL_FEATURES = 48  # channels of a cell
EMPTY_EVERY = 8  # nearly all cells are empty; to name them all took a sixth of a step

Named = Callable[[Sequence[Tensor], Tensor], dict[str, Tensor]]


class Cells(nn.Module):
    """Turns each place of a feature map, `stride` pixels wide, into its cells."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self._grid = (stride // CELL_HEIGHT, stride // CELL_WIDTH, CELL_FEATURES)
        self.divide = nn.Linear(width, math.prod(self._grid))

    def forward(self, features: Tensor) -> Tensor:
        """(P, C, h, w) -> (P, rows, columns, CELL_FEATURES)."""
        places: Tensor = self.divide(features.permute(0, 2, 3, 1))  # (P, h, w, ...)
        ordered = places.unflatten(-1, self._grid).permute(0, 1, 3, 2, 4, 5)
        cells: Tensor = ordered.flatten(3, 4).flatten(1, 2)
        return cells


class DenseLabelHead(nn.Module):
    """Names cells from the visual tokens and from the stages before them."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        widths = {str(stride): preset.widths[STAGES[stride]] for stride in STAGES}
        widths[str(STRIDE)] = preset.vision_width
        self.cells = nn.ModuleDict(
            {stride: Cells(width, int(stride)) for stride, width in widths.items()}
        )
        self.name = nn.Linear(CELL_FEATURES, LABEL_COUNT)
        # Begins at the labels' frequencies, else all that a hundred steps learn.
        nn.init.normal_(self.name.weight, std=0.02)
        nn.init.zeros_(self.name.bias)
        self.name.bias.data[EMPTY] = math.log(LABEL_COUNT)

    def forward(self, stages: Sequence[Tensor], chosen: Tensor) -> dict[str, Tensor]:
        """Logits (K, labels) by stride.

        Args:
            stages: features (P, C, h, w), those of the visual tokens last.
            chosen: int64 (K,), indices into all cells of the images.
        """
        return {
            stride: self.name(cells(each).flatten(0, 2)[chosen])
            for (stride, cells), each in zip(self.cells.items(), stages, strict=True)
        }


def labels(samples: Sequence[Sample]) -> Tensor:
    """int64 (P, rows, columns), see `square.cell_labels`."""
    cells = [cell_labels(each.scene.marks, each.image) for each in samples]
    return torch.from_numpy(np.stack(cells))


def cells_to_name(labels: Tensor) -> Tensor:
    """Indices (K,) of all labelled marks and of some empty cells."""
    flat = labels.flatten()
    marks, empty = (flat > EMPTY).nonzero()[:, 0], (flat == EMPTY).nonzero()[:, 0]
    return torch.cat([marks, empty[::EMPTY_EVERY]])


def loss(
    head: nn.Module, stages: Sequence[Tensor], labels: Tensor
) -> tuple[Tensor, Measures]:
    """The stages' losses, and their shares of right characters and objects."""
    chosen = cells_to_name(labels)
    wanted, named = labels.flatten()[chosen], head(stages, chosen)
    measures = {
        f"{kind}_{stride}": each
        for stride, logits in named.items()
        for kind, each in _shares(logits, wanted).items()
    }
    losses = [cell_loss(each, wanted) for each in named.values()]
    return torch.stack(losses).sum(), measures


def cell_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of K cells; in one mean the few objects went unlearned."""
    losses = cross_entropy(logits.float(), labels, reduction="none")
    objects, empty = labels >= OTHER, labels == EMPTY
    return balanced(losses, ~objects & ~empty, objects, empty)


def _shares(logits: Tensor, labels: Tensor) -> Measures:
    right, objects = logits.argmax(-1) == labels, labels >= OTHER
    characters = (labels > EMPTY) & ~objects
    return {"characters": share(right[characters]), "objects": share(right[objects])}


def right_marks(head: Named, stages: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Which labelled marks are named rightly at the visual tokens: bool (K,)."""
    chosen = (labels.flatten() > EMPTY).nonzero()[:, 0]
    named = head(stages, chosen)[str(STRIDE)]
    return named.argmax(-1) == labels.flatten()[chosen]


DENSE_LABEL = AuxiliaryTask("dense_label", labels, DenseLabelHead, loss, ReadAt.STAGES)


def token_of_labels(tokenizer: Tokenizer) -> Tensor:
    """Each label's token (LABEL_COUNT,): a character's, a figure's colour's.

    IGNORED where it takes several.
    """
    tokens = torch.full((LABEL_COUNT,), IGNORED)
    texts = {name: name for name in CHARACTERS}
    texts |= {name: f" {name.split()[0]}" for name in OBJECTS}
    for name, text in texts.items():
        ids = tokenizer.encode(text).ids
        if len(ids) == 1:
            tokens[LABELS[name]] = ids[0]
    return tokens


def first_objects(cells: Tensor, token_of: Tensor) -> Tensor:
    """The token that the decoder predicts at each visual token: its first object.

    What it can name there it can copy into an answer.

    Args:
        cells: int64 (P, rows, columns), of `labels`.
        token_of: of `token_of_labels`.

    Returns:
        int64 (P, N), IGNORED where a visual token is empty or ambiguous.
    """
    rows, columns = STRIDE // CELL_HEIGHT, STRIDE // CELL_WIDTH
    parts = cells.unflatten(2, (-1, columns)).unflatten(1, (-1, rows))
    places = parts.transpose(2, 3).flatten(3).flatten(1, 2)  # (P, N, cells)
    first = (places != EMPTY).int().argmax(dim=-1, keepdim=True)
    label = places.gather(-1, first)[..., 0]
    return token_of[label.clamp(min=EMPTY)]  # ambiguous ones count as empty
