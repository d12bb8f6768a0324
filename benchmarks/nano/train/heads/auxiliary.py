"""Scores of several labels at once, a column each, and the losses of those."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.nano.means import mean_or_zero
from benchmarks.nano.prompt import IGNORED


def judged_columns(
    scores: Tensor, labels: Tensor, sizes: Mapping[str, int]
) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
    """Yield each column's name, where it is told, its losses there and what is right.

    Args:
        scores: float (..., sum of the sizes), a part per column.
        labels: int64 (..., columns), `IGNORED` where a column is not told.
        sizes: how many values each column has.
    """
    parts = scores.float().split(list(sizes.values()), dim=-1)
    for name, logits, wanted in zip(sizes, parts, labels.unbind(-1), strict=True):
        told = wanted != IGNORED
        losses = cross_entropy(logits[told], wanted[told], reduction="none")
        yield name, told, losses, logits[told].argmax(-1) == wanted[told]


def columns_loss(
    scores: Tensor, labels: Tensor, sizes: Mapping[str, int]
) -> tuple[Tensor, dict[str, float]]:
    """Return the mean cross-entropies' sum, and the share that is right of each.

    The arguments are those of `judged_columns`.
    """
    losses, shares = [], {}
    for name, _, each, right in judged_columns(scores, labels, sizes):
        losses.append(mean_or_zero(each))
        shares[name] = right.float().mean().item()
    return torch.stack(losses).sum(), shares
