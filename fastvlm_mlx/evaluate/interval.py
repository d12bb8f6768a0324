"""95 % confidence intervals over the questions of a task, as if they were drawn.

Questions about one image are not independent, so the true intervals are wider where
an image is asked about often.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

NORMAL = 1.959963984540054
"""The standard normal holds 95 % within so much of its middle."""

DRAWS = 10_000
"""Data sets drawn anew for a bootstrap."""

Interval = tuple[float, float]
Counts = NDArray[np.float64]
Kind = TypeVar("Kind", bound=Hashable)


def wilson(right: int, asked: int) -> Interval:
    """Of a share of right answers (Wilson 1927): it never leaves 0 to 1.

    Raises:
        ValueError: nothing was asked.
    """
    if asked < 1:
        raise ValueError("an interval needs at least one question")
    share, z2 = right / asked, NORMAL * NORMAL
    middle = (share + z2 / (2 * asked)) / (1 + z2 / asked)
    spread = share * (1 - share) / asked + z2 / (4 * asked * asked)
    half = NORMAL * math.sqrt(spread) / (1 + z2 / asked)
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap_mean(scores: Sequence[float]) -> Interval:
    """Of a mean of graded scores: the middle 95 % of the means of drawn data sets."""
    values = sorted(set(scores))
    return bootstrap(scores, values, lambda counts: counts @ values / len(scores))


def bootstrap(
    outcomes: Sequence[Kind],
    kinds: Sequence[Kind],
    statistic: Callable[[Counts], Counts],
) -> Interval:
    """Of any figure that depends on how many outcomes of each kind there are.

    Drawing n outcomes with replacement is drawing their counts from a multinomial, so
    the time grows with the kinds and not with the questions. Fixed numbers are drawn.

    Args:
        outcomes: one for each question.
        kinds: all that occur, in the order that `statistic` knows them by.
        statistic: counts (DRAWS, kinds) to figures (DRAWS,).
    """
    tally = Counter(outcomes)
    shares = np.array([tally[kind] for kind in kinds]) / len(outcomes)
    drawn = np.random.default_rng(0).multinomial(len(outcomes), shares, DRAWS)
    low, high = np.quantile(statistic(drawn.astype(np.float64)), [0.025, 0.975])
    return float(low), float(high)
