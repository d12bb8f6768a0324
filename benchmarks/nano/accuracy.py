"""Right answers out of the questions asked, and how sure that share is."""

import math
from dataclasses import dataclass

NORMAL = 1.959964  # Standard deviations of a normal distribution that hold 95 %.


@dataclass(frozen=True)
class Accuracy:
    """Right answers out of the questions asked, at least one."""

    right: int
    asked: int

    @property
    def percent(self) -> float:
        """Share of right answers."""
        return 100 * self.right / self.asked

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the share, in percent (Wilson's score).

        Unlike the plain normal one it stays within 0 and 100 and has a width even
        where every answer was right.
        """
        share, spread = self.right / self.asked, NORMAL**2 / self.asked
        middle = (share + spread / 2) / (1 + spread)
        root = math.sqrt(share * (1 - share) / self.asked + spread / self.asked / 4)
        half = NORMAL * root / (1 + spread)
        return 100 * max(middle - half, 0.0), 100 * min(middle + half, 1.0)

    def __add__(self, other: "Accuracy") -> "Accuracy":
        return Accuracy(self.right + other.right, self.asked + other.asked)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.percent:.1f} % ({low:.1f}-{high:.1f}, {self.asked})"
