"""How the second figure that a question mentions compares with the first.

"Is the red circle left of the star?" stayed a guess for 12 000 steps although grounding
knew both columns. Here all comparisons are learned at the second mention, whichever was
asked for.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...data.square import IGNORED
from .auxiliary import AuxiliaryTask, Measures, ReadAt, Sample, columns_loss
from .grounding import COLUMNS as GROUNDING_COLUMNS
from .grounding import mention_labels

COMPARED = {"further_right": "column", "lower": "row", "bigger": "size"}
COLUMNS = dict.fromkeys(COMPARED, 2)


def pairwise_labels(samples: Sequence[Sample]) -> Tensor:
    """int64 (M, COLUMNS): 1 where the second is more, 0 where it is less.

    IGNORED where they are equal or one of them is not known.
    """
    rows = [row for sample in samples for row in _compared(sample)]
    return torch.tensor(rows).view(-1, len(COLUMNS)).long()


def _compared(sample: Sample) -> list[list[int]]:
    known = [
        dict(zip(GROUNDING_COLUMNS, mention_labels(sample, each), strict=True))
        for each in sample.mentions
    ]
    return [
        [
            _compare(known[first][name], known[second][name])
            for name in COMPARED.values()
        ]
        for first, second in sample.pairs
    ]


def _compare(first: int, second: int) -> int:
    if IGNORED in (first, second) or first == second:
        return IGNORED
    return int(second > first)


def loss(head: nn.Module, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Measures]:
    """The loss of (M, COLUMNS), and the share of each column that is right."""
    return columns_loss(head(hidden), labels, COLUMNS)


PAIRWISE = AuxiliaryTask(
    "pairwise",
    pairwise_labels,
    lambda preset: nn.Linear(preset.hidden, sum(COLUMNS.values())),
    loss,
    ReadAt.LATE_PAIRS,
)
