"""The head that says where in the picture's square a visual token lies, and its loss.

Convolutions know no places but those near a border, and the decoder only how far apart
two tokens are: "where is the star?" was answered no better than by guessing when
colours and shapes were already named. So every visual token is told its place. Used in
training only.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

PARTS = 8  # Rows and columns that are told apart.


class Places(nn.Linear):
    """Scores the rows and the columns that a visual token may lie in.

    Args:
        width: channels C of a visual token.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, 2 * PARTS)

    def forward(self, features: Tensor) -> Tensor:
        """(P, C, h, w) -> logits (P, h, w, 2, PARTS), of rows and of columns."""
        logits: Tensor = super().forward(features.permute(0, 2, 3, 1))
        parted: Tensor = logits.unflatten(-1, (2, PARTS))
        return parted


def place_loss(logits: Tensor) -> Tensor:
    """Return the mean cross-entropy of rows and columns.

    Args:
        logits: float (P, h, w, 2, PARTS).
    """
    wanted = places(logits.shape[1], logits.shape[2]).to(logits.device)
    each = wanted.expand(len(logits), -1, -1, -1)
    return cross_entropy(logits.flatten(0, 3).float(), each.flatten())


def places(height: int, width: int) -> Tensor:
    """Return the row and the column, of `PARTS`, of the middle of each token.

    Returns:
        int64 (height, width, 2).
    """
    rows, columns = (
        ((torch.arange(count) + 0.5) * PARTS / count).long()
        for count in (height, width)
    )
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)
