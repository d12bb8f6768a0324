"""In which part of the picture a figure is, told at its visual token, and the loss.

Where a visual token lies in the square it is told (`places.py`). "Top left" is said of
the picture itself, which is as wide and high as it was drawn, between black bars: only
who sees the bars can tell. So at each figure the decoder learns to say in which ninth
of the picture it is. Used in training only.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.nano.labels import THINGS
from benchmarks.nano.prompt import IGNORED
from benchmarks.nano.square import Square
from benchmarks.nano.tasks.ground import Size
from benchmarks.nano.tasks.ninth import NINTHS, ninth
from benchmarks.nano.tasks.scene import Mark


class Ninths(nn.Linear):
    """Scores the ninths of the picture for a visual token.

    Args:
        width: of the decoder.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, len(NINTHS))


def ninth_labels(marks: Iterable[Mark], size: Size, made: Square) -> Tensor:
    """Label the visual tokens of one picture.

    Args:
        marks: what is where, in the pixels of the picture as it was drawn.
        size: the picture's, as it was drawn.
        made: the square that it became.

    Returns:
        int64 (N,), places among `NINTHS`; `IGNORED` where no figure has its middle,
        two figures of different ninths have, or the ninth is not plain.
    """
    found: dict[int, set[int]] = {}
    for mark in marks:
        if mark.label not in THINGS:
            continue
        name = ninth(mark.middle, size)
        number = IGNORED if name is None else NINTHS.index(name)
        found.setdefault(made.token(mark.middle), set()).add(number)
    labels = torch.full((made.tokens,), IGNORED)
    for token, numbers in found.items():
        labels[token] = numbers.pop() if len(numbers) == 1 else IGNORED
    return labels


def ninth_loss(logits: Tensor, ninths: Tensor) -> tuple[Tensor, float]:
    """Return the mean cross-entropy, and the share of right ninths.

    Args:
        logits: float (P, N, NINTHS).
        ninths: int64 (P, N), of `ninth_labels`.
    """
    told = ninths != IGNORED
    chosen, labels = logits[told].float(), ninths[told]
    total = cross_entropy(chosen, labels, reduction="sum")
    right = chosen.argmax(-1) == labels
    return total / max(1, len(labels)), right.float().mean().item()
