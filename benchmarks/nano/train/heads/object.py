"""What figure stands at a visual token, where in the picture, how large: told there.

Where a visual token lies in the square it is told (`places.py`). "Top left" is said of
the picture itself, which is as wide and high as it was drawn, between black bars: only
who sees the bars can tell. Told in which ninth a figure is, the decoder knew it of 94
in 100 after 1 500 steps; before, questions for places had taught it next to nothing.
Its name and its size, which is what is compared, are told in the same way, and that
there is none: who counts has to know where nothing is to be counted. Used in training
only.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from benchmarks.nano.columns import judged_columns
from benchmarks.nano.labels import THINGS
from benchmarks.nano.means import mean_or_zero
from benchmarks.nano.prompt import IGNORED
from benchmarks.nano.square import Square
from benchmarks.nano.tasks.ground import Size
from benchmarks.nano.tasks.ninth import NINTHS, ninth
from benchmarks.nano.tasks.scene import Mark

SMALLEST = 0.08  # Of the picture's longer side; each octave above has `STEPS` sizes.
STEPS, SIZES = 4, 14
NOTHING = len(THINGS)  # Instead of a figure's name, where no figure has its middle.
TOLD = {"figures": 1 + len(THINGS), "ninths": len(NINTHS), "sizes": SIZES}


class Portraits(nn.Linear):
    """Scores names, ninths and sizes of the figure at a visual token.

    Args:
        width: of the decoder.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, sum(TOLD.values()))


def portrait_labels(marks: Iterable[Mark], size: Size, made: Square) -> Tensor:
    """Label the visual tokens of one picture.

    Args:
        marks: what is where, in the pixels of the picture as it was drawn.
        size: the picture's, as it was drawn.
        made: the square that it became.

    Returns:
        int64 (N, TOLD). The name is `NOTHING` where no figure has its middle, if the
        picture shows any. `IGNORED` where two have and differ, where a ninth is not
        plain, and all else that is not there.
    """
    labels = torch.full((made.tokens, len(TOLD)), IGNORED)
    figures = [mark for mark in marks if mark.label in THINGS]
    seen: set[int] = set()
    for mark in figures:
        token, told = made.token(mark.middle), torch.tensor(portrait(mark, size))
        differs = (labels[token] != told) & (token in seen)
        labels[token] = told.masked_fill(differs, IGNORED)
        seen.add(token)
    if figures:
        without = [token for token in range(made.tokens) if token not in seen]
        labels[without, 0] = NOTHING
    return labels


def portrait(mark: Mark, size: Size) -> tuple[int, ...]:
    """Label one figure: its name, its ninth or `IGNORED`, its size."""
    name = ninth(mark.middle, size)
    place = IGNORED if name is None else NINTHS.index(name)
    return THINGS.index(mark.label), place, _size(mark, size)


def _size(mark: Mark, size: Size) -> int:
    left, top, right, bottom = mark.box
    share = math.sqrt(max(right - left, 1) * max(bottom - top, 1)) / max(size)
    return min(max(int(STEPS * math.log2(share / SMALLEST)), 0), SIZES - 1)


def portrait_loss(scores: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Return the mean cross-entropies' sum, and the share that is right of each.

    Figures and tokens with `NOTHING` have a mean each: there are few figures.

    Args:
        scores: float (P, N, ...), of `Portraits`.
        labels: int64 (P, N, TOLD), of `portrait_labels`.
    """
    losses, shares = [], {}
    for name, told, each, right in judged_columns(scores, labels, TOLD):
        shown = labels[told][:, 0] != NOTHING
        losses += [mean_or_zero(each[shown]), mean_or_zero(each[~shown])]
        shares[name] = right[shown].float().mean().item()
    return torch.stack(losses).sum(), shares
