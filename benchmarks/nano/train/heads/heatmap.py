"""Where all figures of a name in a question are, told to the decoder where it ends.

One figure's place is told with what it is (`references`). Of several only their number
was, which is little to learn from which visual tokens hold them: "how many red
circles?" was wrong one time in three among five and six figures. So after half of the
layers the decoder marks their places, all of them. Used in training only.
"""

from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.nano.means import mean_or_zero

SIDE = 8  # Columns and rows of places in the square.
SPOTS = SIDE * SIDE
RARE = -4.0  # Where the scores begin: one place in sixty is marked.


class Spots(nn.Linear):
    """Scores every place of the square, whether a figure of the name is there.

    Args:
        width: of the decoder, D.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, SPOTS)
        nn.init.constant_(self.bias, RARE)


def spot(x: float, y: float) -> int:
    """Return the index of the place that holds a point, given in shares of a side."""
    return int(y * SIDE) * SIDE + int(x * SIDE)


def spot_loss(scores: Tensor, marked: Tensor) -> tuple[Tensor, float]:
    """Return the loss of a name, and the share of the names told without a mistake.

    Args:
        scores: float (K, SPOTS), of `Spots`.
        marked: bool (K, SPOTS), of `references.spot_labels`.
    """
    losses = binary_cross_entropy_with_logits(
        scores.float(), marked.float(), reduction="none"
    )
    right = ((scores > 0) == marked).all(dim=-1)
    shown = marked.any(dim=-1)
    return mean_or_zero(losses.sum(dim=-1)), right[shown].float().mean().item()
