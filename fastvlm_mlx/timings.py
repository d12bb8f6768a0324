"""How far long work has come, and where the time of one answer went."""

import time
from collections.abc import Callable
from dataclasses import dataclass

Progress = Callable[[int, int], None]
"""Called with what is done so far and in all: bytes, answers, steps."""

Lap = Callable[[str], None]
"""Called with the name of a part of Timings when that part ends."""


def unreported(done: int, total: int) -> None:
    """A Progress that nobody looks at."""


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Where the time of one answer went, in seconds.

    On a GPU the parts overlap: each is the time that was spent waiting for it and not
    for another. Together, `decode` left out, they are `time_to_first_token`. Work done
    for several requests at once counts in full for each; waiting for a turn does not.
    """

    load_image: float = 0.0  # decode the file
    preprocess: float = 0.0  # pad or crop, resize
    tokenize: float = 0.0
    encode: float = 0.0  # vision tower
    project: float = 0.0
    prefill: float = 0.0  # language model over the prompt, first token sampled
    decode: float = 0.0  # every later token

    @property
    def time_to_first_token(self) -> float:
        """Seconds of work from the call to the first token on the host."""
        parts = (self.load_image, self.preprocess, self.tokenize)
        return sum(parts) + self.encode + self.project + self.prefill


class Stopwatch:
    """`lap` after each part gives it the time since the lap before."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.seconds: dict[str, float] = {}
        """By part, a field of Timings."""

    def lap(self, part: str) -> None:
        """End a part, named as its field in Timings."""
        now = time.perf_counter()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._last
        self._last = now

    def timings(self) -> Timings:
        """All parts so far."""
        return Timings(**self.seconds)
