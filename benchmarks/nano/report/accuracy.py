"""Right answers out of the questions asked, and the interval of that share."""

from dataclasses import dataclass

from fastvlm_mlx.evaluate.interval import wilson


@dataclass(frozen=True)
class Accuracy:
    """Right answers out of the questions asked, at least one."""

    right: int
    asked: int

    @property
    def percent(self) -> float:
        """The share of right answers."""
        return 100 * self.right / self.asked

    @property
    def interval(self) -> tuple[float, float]:
        """The share's 95 % confidence interval in percent (Wilson's score).

        It stays within 0 and 100 and has a width even if every answer is right.
        """
        low, high = wilson(self.right, self.asked)
        return 100 * low, 100 * high

    def __add__(self, other: "Accuracy") -> "Accuracy":
        return Accuracy(self.right + other.right, self.asked + other.asked)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.percent:.1f} % ({low:.1f}-{high:.1f}, {self.asked})"
