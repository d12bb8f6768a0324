"""How many figures a picture has shown, told at every visual token; the loss of that.

"How many circles are there?" was right three times in five when nearly every figure was
named rightly, and did not get better: one number is little to learn adding from. So
where the picture ends the decoder learns to say all that can be counted at once, the
figures of every colour and of every shape; what stands there a question can look up.
Told there alone, four numbers above two in five were wrong still. So it also learns to
say at each visual token what has been shown up to there. Used in training only.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.nano.labels import THINGS
from benchmarks.nano.means import mean_or_zero
from benchmarks.nano.prompt import IGNORED
from benchmarks.nano.square import Square
from benchmarks.nano.tasks.figures import SHAPES
from benchmarks.nano.tasks.palette import NAMED
from benchmarks.nano.tasks.scene import Mark

ANY = "figure"
COUNTED = (ANY, *NAMED, *SHAPES)
MOST = 6  # Figures; sheets, which show more, are not counted.


class Tallies(nn.Linear):
    """Scores every number of figures of each counted kind.

    Args:
        width: of the decoder, D.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, len(COUNTED) * (MOST + 1))

    def forward(self, hidden: Tensor) -> Tensor:
        """(P, N, D) -> logits (P, N, COUNTED, MOST + 1)."""
        logits: Tensor = super().forward(hidden).unflatten(-1, (-1, MOST + 1))
        return logits


def running_tallies(marks: Sequence[Mark], made: Square) -> Tensor:
    """Count the figures up to each visual token, row by row.

    Args:
        marks: what is where, in the pixels of the picture as it was drawn.
        made: the square that it became.

    Returns:
        int64 (N, COUNTED); the last row counts the whole picture. All `IGNORED` unless
        one to `MOST` figures are all there is.
    """
    names = [mark.label for mark in marks]
    if not 1 <= len(names) <= MOST or any(name not in THINGS for name in names):
        return torch.full((made.tokens, len(COUNTED)), IGNORED)
    counts = torch.zeros(made.tokens, len(COUNTED), dtype=torch.int64)
    for mark in marks:
        kinds = [COUNTED.index(word) for word in (ANY, *mark.label.split())]
        counts[made.token(mark.middle), kinds] += 1
    return counts.cumsum(0)


def tally_loss(logits: Tensor, tallies: Tensor) -> tuple[Tensor, float]:
    """Return the loss, and the share of right numbers among what a picture shows.

    What is shown and what is not weigh the same, since nearly all is absent; and so do
    the ends of the pictures and all their visual tokens.

    Args:
        logits: float (P, N, COUNTED, MOST + 1).
        tallies: int64 (P, N, COUNTED), of `running_tallies`.
    """
    losses = cross_entropy(
        logits.float().movedim(-1, 1), tallies, reduction="none", ignore_index=IGNORED
    )
    parts = [
        mean_or_zero(losses[:, first:][where])
        for first in (0, -1)
        for where in (tallies[:, first:] > 0, tallies[:, first:] == 0)
    ]
    shown = tallies[:, -1] > 0
    right = logits[:, -1].argmax(-1) == tallies[:, -1]
    return torch.stack(parts).sum(), right[shown].float().mean().item()
