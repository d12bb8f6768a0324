"""How two figures that a question names stand to each other, told at the second name.

"Is the red circle left of the star?" stayed a guess for 12 000 steps, although the
column and the row of both were told at their names: one bit per question is little to
learn comparing from. So where the second name ends the decoder says which of the two is
further right, lower and bigger, whatever was asked. Used in training only.
"""

from torch import Tensor, nn

from benchmarks.nano.columns import columns_loss
from benchmarks.nano.prompt import IGNORED
from benchmarks.nano.references import TOLD as REFERENCE
from benchmarks.nano.references import References

COMPARED = {"further_right": "column", "lower": "row", "bigger": "sizes"}
TOLD = dict.fromkeys(COMPARED, 2)


class RelationHead(nn.Linear):
    """Scores whether the second figure is further right, lower and bigger, or less so.

    Args:
        width: of the decoder, D.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, sum(TOLD.values()))


def relation_labels(references: References) -> Tensor:
    """Compare the two figures of each pair of names.

    Returns:
        int64 (M, TOLD), 1 where the second is more, 0 where it is less, `IGNORED` where
        they are in the same step or one of them is not told.
    """
    columns = [list(REFERENCE).index(name) for name in COMPARED.values()]
    first, second = references.labels[:, columns][references.pairs]
    told = (first != IGNORED) & (second != IGNORED) & (first != second)
    more: Tensor = second > first
    return more.long().masked_fill(~told, IGNORED)


def relation_loss(scores: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Return the mean cross-entropies' sum, and the share that is right of each.

    Args:
        scores: float (M, ...), of `RelationHead`.
        labels: int64 (M, TOLD), of `relation_labels`.
    """
    return columns_loss(scores, labels, TOLD)
