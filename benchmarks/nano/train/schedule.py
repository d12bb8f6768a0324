"""The learning rate, and when a run saves and stops.

The rate rises, stays up until `--finish` is given, and falls over half a cosine; so a
run's length need not be known beforehand.
"""

import math
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Learning rates of a run."""

    rate: float  # the highest
    warmup: int  # steps of the rise
    fall_from: int | None = None  # the step at which the fall begins, if it is known
    fall: int = 0  # steps of the fall

    @property
    def end(self) -> int | None:
        """The step after the last, or None."""
        return None if self.fall_from is None else self.fall_from + self.fall

    def at(self, step: int) -> float:
        """The learning rate of a step."""
        rate = self.rate * min(1.0, (step + 1) / self.warmup)
        if self.fall_from is None or step < self.fall_from:
            return rate
        fallen = min(1.0, (step - self.fall_from) / self.fall)
        return rate * 0.5 * (1 + math.cos(math.pi * fallen))


class Clock:
    """When to save and when to stop.

    Args:
        minutes: of the whole run.
        save_minutes: between two saves.
    """

    def __init__(self, minutes: float, save_minutes: float) -> None:
        self._started = self._saved = time.monotonic()
        self._seconds, self._save_seconds = 60 * minutes, 60 * save_minutes

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return round(time.monotonic() - self._started, 1)

    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() - self._started >= self._seconds

    def is_time_to_save(self) -> bool:
        """Whether the last save is long ago; if so the next is taken to be now."""
        due = time.monotonic() - self._saved >= self._save_seconds
        self._saved = time.monotonic() if due else self._saved
        return due
