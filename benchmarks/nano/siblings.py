"""How many figures are like the one at a visual token, told to tower and decoder.

A question for a number is answered at a name, and the name finds the visual tokens that
it is of: of 96 in 100 the figure was known there when one number in four, of several
figures, was wrong. So every figure's visual token is to say how many of its name, its
colour and its shape the picture shows. Whichever of them a name finds, the number is
the same. The tower, where all visual tokens see each other, can know it before the
decoder reads. Used in training only.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmarks.nano.means import mean_or_zero
from benchmarks.nano.portraits import judged_columns
from benchmarks.nano.prompt import IGNORED
from benchmarks.nano.square import Square
from benchmarks.nano.tallies import MOST, is_counted
from benchmarks.nano.tasks.scene import Mark

ALONE = 0  # The label of a figure that no other one is like.
TOLD = {"same_name": MOST, "same_color": MOST, "same_shape": MOST}


class Siblings(nn.Linear):
    """Scores how many figures have the name, colour and shape of one at a visual token.

    Args:
        width: of the visual tokens, the tower's or the decoder's.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, sum(TOLD.values()))


def sibling_labels(marks: Sequence[Mark], made: Square) -> Tensor:
    """Label the visual tokens of one picture.

    Args:
        marks: what is where, in the pixels of the picture as it was drawn.
        made: the square that it became.

    Returns:
        int64 (N, TOLD), one less than the numbers. `IGNORED` where no figure has its
        middle, where two have that differ, and unless figures are all there is.
    """
    labels = torch.full((made.tokens, len(TOLD)), IGNORED)
    if not is_counted(marks):
        return labels
    seen: set[int] = set()
    for mark in marks:
        token, told = made.token(mark.middle), torch.tensor(_others(mark, marks))
        differs = (labels[token] != told) & (token in seen)
        labels[token] = told.masked_fill(differs, IGNORED)
        seen.add(token)
    return labels


def _others(mark: Mark, marks: Sequence[Mark]) -> list[int]:
    """Count the other figures of a figure's name, of its colour, of its shape."""
    color, shape = mark.label.split()
    words = [word for each in marks for word in each.label.split()]
    names = [each.label for each in marks]
    return [names.count(mark.label) - 1, words.count(color) - 1, words.count(shape) - 1]


def sibling_loss(
    scores: Tensor, labels: Tensor, when: str
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss, and the share that is right where a figure has siblings.

    Figures with siblings and figures without weigh the same: most have none.

    Args:
        scores: float (P, N, ...), of `Siblings`.
        labels: int64 (P, N, TOLD), of `sibling_labels`.
        when: what the shares' names begin with.
    """
    losses, shares = [], {}
    judged = judged_columns(scores, labels, TOLD)
    for (name, told, each, right), wanted in zip(
        judged, labels.unbind(-1), strict=True
    ):
        alone = wanted[told] == ALONE
        losses += [mean_or_zero(each[alone]), mean_or_zero(each[~alone])]
        shares[f"{when}_{name}"] = right[~alone].float().mean().item()
    return torch.stack(losses).sum() / 2, shares
