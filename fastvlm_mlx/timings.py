"""Times of consecutive parts of one answer."""

import time

from .generation.generate import Timings


class Stopwatch:
    """`lap` after each part gives it the time since the lap before."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def resume(self) -> None:
        """Leave out the time since the lap before: nobody waited for a part."""
        self._last = time.perf_counter()

    def lap(self, part: str) -> None:
        """End a part, named as its field in Timings."""
        now = time.perf_counter()
        self._laps[part] = self._laps.get(part, 0.0) + now - self._last
        self._last = now

    def timings(self) -> Timings:
        """All parts so far."""
        return Timings(**self._laps)
