"""Right answers out of the questions asked, and how sure that share is."""

from dataclasses import dataclass

from fastvlm_mlx.evaluate.interval import wilson


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
        low, high = wilson(self.right, self.asked)
        return 100 * low, 100 * high

    def __add__(self, other: "Accuracy") -> "Accuracy":
        return Accuracy(self.right + other.right, self.asked + other.asked)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.percent:.1f} % ({low:.1f}-{high:.1f}, {self.asked})"
