"""How many figures a picture shows, told where it ends, and the loss of that.

"How many circles are there?" was right three times in five when nearly every figure was
named rightly, and did not get better: one number is little to learn adding from. So
where the picture ends the decoder learns to say all that can be counted at once, the
figures of every colour and of every shape; what stands there a question can look up.
Used in training only.
"""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.nano.labels import THINGS
from benchmarks.nano.means import mean_or_zero
from benchmarks.nano.prompt import IGNORED
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
        """(P, D) -> logits (P, COUNTED, MOST + 1)."""
        logits: Tensor = super().forward(hidden).unflatten(-1, (-1, MOST + 1))
        return logits


def tally(marks: Sequence[Mark]) -> Tensor:
    """Count the figures of a picture.

    Returns:
        int64 (COUNTED,), all `IGNORED` unless one to `MOST` figures are all there is.
    """
    names = [mark.label for mark in marks]
    if not 1 <= len(names) <= MOST or any(name not in THINGS for name in names):
        return torch.full((len(COUNTED),), IGNORED)
    words = Counter(word for name in names for word in (ANY, *name.split()))
    return torch.tensor([words[kind] for kind in COUNTED])


def tally_loss(logits: Tensor, tallies: Tensor) -> tuple[Tensor, float]:
    """Return the loss, and the share of right numbers among what is shown.

    What a picture shows and what it does not weigh the same: nearly all is absent.

    Args:
        logits: float (P, COUNTED, MOST + 1).
        tallies: int64 (P, COUNTED), of `tally`.
    """
    scores, wanted = logits.flatten(0, 1).float(), tallies.flatten()
    losses = cross_entropy(scores, wanted, reduction="none")
    shown, absent = wanted > 0, wanted == 0
    right = scores.argmax(-1) == wanted
    parts = [mean_or_zero(losses[each]) for each in (shown, absent)]
    return torch.stack(parts).sum(), right[shown].float().mean().item()
