"""The row and column of each visual token in the square.

Convolutions know no position away from a border, and the decoder only distances:
"where is the star?" was a guess when colours and shapes were already named.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .auxiliary import AuxiliaryTask, Measures, ReadAt, Sample, per_image

PARTS = 8  # rows and columns


def positions(side: int) -> Tensor:
    """Row and column, of PARTS, of each token of a square of side x side: (N, 2)."""
    at = ((torch.arange(side) + 0.5) * PARTS / side).long()
    return torch.stack(torch.meshgrid(at, at, indexing="ij"), dim=-1).flatten(0, 1)


def _labels(sample: Sample) -> Tensor:
    return positions(int(sample.image.tokens**0.5))


def loss(head: nn.Module, tokens: Tensor, labels: Tensor) -> tuple[Tensor, Measures]:
    """The mean cross-entropy of rows and columns, int64 (P, N, 2)."""
    logits = head(tokens).unflatten(-1, (2, PARTS)).flatten(0, 2).float()
    wanted = labels.flatten()
    right = (logits.argmax(-1) == wanted).float().mean().item()
    return cross_entropy(logits, wanted), {"right": right}


POSITION = AuxiliaryTask(
    "position",
    per_image(_labels),
    lambda preset: nn.Linear(preset.vision_width, 2 * PARTS),
    loss,
    ReadAt.TOWER,
)
