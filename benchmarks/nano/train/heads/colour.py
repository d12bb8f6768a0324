"""The colour of the characters at a visual token, told to the tower and the decoder.

A thin stroke's colour is not needed to read it, so whoever reads best forgets it: "what
color is the text?" was answered no better than by a guess after 25 000 steps with that
question among others. So the tower names it at every visual token with a character, and
so does the decoder. Used in training only.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.nano.means import mean_or_zero
from benchmarks.nano.prompt import IGNORED
from benchmarks.nano.square import Square
from benchmarks.nano.tasks.palette import NAMED
from benchmarks.nano.tasks.scene import Mark

INKS = tuple(NAMED)


class Inks(nn.Linear):
    """Scores the colours of the characters at a visual token.

    Args:
        width: of the visual tokens, the tower's or the decoder's.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, len(INKS))


def ink_labels(marks: Iterable[Mark], made: Square) -> Tensor:
    """Label the visual tokens of one picture.

    Args:
        marks: what is where; a text's characters know their colour if it has a name.
        made: the square that the picture became.

    Returns:
        int64 (N,), `IGNORED` where no character of a named colour has its middle.
    """
    labels = torch.full((made.tokens,), IGNORED)
    for mark in marks:
        if mark.ink is not None:
            labels[made.token(mark.middle)] = INKS.index(mark.ink)
    return labels


def ink_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, float]:
    """Return the mean cross-entropy and the share that is right.

    Args:
        logits: float (P, N, INKS), of `Inks`.
        labels: int64 (P, N), of `ink_labels`.
    """
    told = labels != IGNORED
    losses = cross_entropy(logits[told].float(), labels[told], reduction="none")
    right = logits[told].argmax(-1) == labels[told]
    return mean_or_zero(losses), right.float().mean().item()
