"""What an auxiliary task is: labels, a head, a loss, and where the head reads.

Answers teach little: a few words per question. So heads predict what is known of an
image at each visual token and at each object that a question mentions. Generation never
reads them. The decoder's heads read it where half or three quarters of its layers are
done, so that later layers can look up what is there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...data.conversations import Mention
from ...data.square import IGNORED, Square
from ...data.tasks.scene import Scene
from ..options import Preset

Measures = dict[str, float]


class ReadAt(Enum):
    """What a head reads, of P images with N visual tokens, K mentions and M pairs."""

    STAGES = auto()  # features (P, C, h, w) of three of the tower's stages
    TOWER = auto()  # the tower's visual tokens (P, N, C)
    HALF = auto()  # hidden states (P, N, D) at visual tokens, half of the layers done
    HALF_MENTIONS = auto()  # (K, D) at the last tokens of mentions, half done
    LATE_MENTIONS = auto()  # (K, D) there, three quarters done
    LATE_PAIRS = auto()  # (M, D) at the later mention of each pair, three quarters done


@dataclass(frozen=True)
class Sample:
    """One image of a batch, and what its questions mention."""

    scene: Scene
    image: Square
    mentions: Sequence[Mention] = ()

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Indices of each two successive mentions of one question."""
        numbers = [each.question for each in self.mentions]
        return [
            (later - 1, later)
            for later in range(1, len(numbers))
            if numbers[later - 1] == numbers[later]
        ]


Labels = Callable[[Sequence[Sample]], Tensor]


@dataclass(frozen=True)
class AuxiliaryTask:
    """Something learned next to the answers.

    `loss` takes the head, what it reads and the labels; it returns a scalar and the
    shares that are right.
    """

    name: str
    labels: Labels  # runs in the loader's processes
    head: Callable[[Preset], nn.Module]
    loss: Callable[[Any, Any, Tensor], tuple[Tensor, Measures]]
    read_at: ReadAt


def per_image(label: Callable[[Sample], Tensor]) -> Labels:
    """Labels of each image, stacked."""
    return lambda samples: torch.stack([label(each) for each in samples])


def per_mention(
    label: Callable[[Sample, Mention], Sequence[int]], width: int
) -> Labels:
    """Labels (K, width) of all mentions."""

    def labels(samples: Sequence[Sample]) -> Tensor:
        rows = [label(sample, each) for sample in samples for each in sample.mentions]
        return torch.tensor(rows).view(-1, width).long()

    return labels


def mean_or_zero(losses: Tensor) -> Tensor:
    """The mean of losses (K,), 0 where K is 0."""
    return losses.sum() / max(1, losses.numel())


def balanced(losses: Tensor, *parts: Tensor) -> Tensor:
    """The sum of the mean losses of several parts (masks)."""
    return torch.stack([mean_or_zero(losses[each]) for each in parts]).sum()


def share(right: Tensor) -> float:
    """The share of true values; NaN of none."""
    return right.float().mean().item()


def judged_columns(
    scores: Tensor, labels: Tensor, sizes: Mapping[str, int]
) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
    """Each column's name, where it is labelled, its losses there and what is right.

    Args:
        scores: float (..., sum of the sizes).
        labels: int64 (..., columns).
        sizes: number of values by column.
    """
    parts = scores.float().split(list(sizes.values()), dim=-1)
    for name, logits, wanted in zip(sizes, parts, labels.unbind(-1), strict=True):
        known = wanted != IGNORED
        losses = cross_entropy(logits[known], wanted[known], reduction="none")
        yield name, known, losses, logits[known].argmax(-1) == wanted[known]


def columns_loss(
    scores: Tensor, labels: Tensor, sizes: Mapping[str, int]
) -> tuple[Tensor, Measures]:
    """The sum of the columns' mean cross-entropies; arguments of `judged_columns`."""
    losses, shares = [], {}
    for name, _, each, right in judged_columns(scores, labels, sizes):
        losses.append(mean_or_zero(each))
        shares[name] = share(right)
    return torch.stack(losses).sum(), shares
