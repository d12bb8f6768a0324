"""When a run saves its state, and when its time is up."""

import time


class Clock:
    """Says when to save and when to stop.

    Args:
        minutes: until it is over.
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
        """Say whether the time is up."""
        return time.monotonic() - self._started >= self._seconds

    def is_time_to_save(self) -> bool:
        """Say whether the last save was long ago; if so the next one is now."""
        due = time.monotonic() - self._saved >= self._save_seconds
        self._saved = time.monotonic() if due else self._saved
        return due
