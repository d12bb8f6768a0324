"""The mean of losses of which there may be none."""

from torch import Tensor


def mean_or_zero(losses: Tensor) -> Tensor:
    """Return the mean of losses (K,), 0 where K is 0."""
    return losses.sum() / max(1, losses.numel())
