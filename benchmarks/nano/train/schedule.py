"""The learning rate: a rise, a plain of any length, and a fall when it is told to end.

Nobody has to know beforehand how long a run will be. On the plain it can be stopped and
resumed at will; `finish` starts the fall, half a cosine down to zero, wherever it is.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Learning rates of a run.

    Attributes:
        rate: the highest.
        warmup: steps of the rise.
        fall_from: the step at which the fall begins, or None while it is not told.
        fall: steps of the fall.
    """

    rate: float
    warmup: int
    fall_from: int | None = None
    fall: int = 0

    @property
    def end(self) -> int | None:
        """The step at which the run is over, or None."""
        return None if self.fall_from is None else self.fall_from + self.fall

    def at(self, step: int) -> float:
        """Return the learning rate of a step."""
        rate = self.rate * min(1.0, (step + 1) / self.warmup)
        if self.fall_from is None or step < self.fall_from:
            return rate
        fallen = min(1.0, (step - self.fall_from) / self.fall)
        return rate * 0.5 * (1 + math.cos(math.pi * fallen))
