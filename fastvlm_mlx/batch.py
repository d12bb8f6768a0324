"""Many requests at a time, each as it would be alone.

Requests are opened by a few threads, ahead of the scheduler, which encodes their images
in groups, reads prompts of like length together and lets their answers share each step.
How many run changes the speed and never an answer. A request that cannot be answered
has its error as its outcome, and the others are answered.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from numbers import Integral
from queue import SimpleQueue

from .engine import Engine
from .errors import OptionError
from .generation.result import GenerationResult
from .request import Given, Outcome, Request, RequestId, id_of
from .scheduling.scheduled import Slots
from .timings import Stopwatch

AHEAD = 2
"""Batches of requests that are opened before there is room for their answers."""

_OPENERS = min(4, os.cpu_count() or 1)


class Batch:
    """Answers the requests of one run, `size` at a time.

    Raises:
        OptionError: a size below 1.
    """

    def __init__(self, engine: Engine, size: int) -> None:
        check_size(size)
        self._engine = engine
        self._slots = Slots(int(size))
        self._most = (1 + AHEAD) * int(size)
        self._outcomes: SimpleQueue[Outcome] = SimpleQueue()

    def run(self, requests: Iterable[Given]) -> Iterator[Outcome]:
        """Outcomes as they are there; requests are taken as they are needed."""
        pool = ThreadPoolExecutor(_OPENERS, thread_name_prefix="fastvlm-open")
        upcoming = iter(enumerate(requests))
        pending = 0
        try:
            while True:
                for index, given in self._take(upcoming, self._most - pending):
                    self._slots.opening.add(index)
                    pool.submit(self._ask, index, given)
                    pending += 1
                if not pending:
                    return
                outcome = self._outcomes.get()
                pending -= 1
                yield outcome
        finally:
            self._slots.closed = True
            pool.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    def _take(
        upcoming: Iterator[tuple[int, Given]], count: int
    ) -> Iterator[tuple[int, Given]]:
        for _ in range(count):
            following = next(upcoming, None)
            if following is None:
                return
            yield following

    def _ask(self, index: int, given: Given) -> None:
        """Open a request and hand it to the scheduler; in a thread of the pool."""
        outlet = _Outlet(index, id_of(given), self._outcomes.put)
        watch = Stopwatch()
        try:
            opened = self._engine.open(Request.of(given), watch.lap)
            self._engine.answer(opened, outlet, watch.seconds, self._slots)
        except Exception as error:
            outlet.end(None, error)
        finally:
            self._slots.opening.discard(index)


@dataclass(frozen=True)
class _Outlet:
    """Of one request: its outcome is all that is wanted."""

    index: int
    id: RequestId
    put_outcome: Callable[[Outcome], None]

    def put(self, text: str, tokens: int) -> None:
        """Nobody reads the answer as it is written."""

    def end(self, result: GenerationResult | None, error: Exception | None) -> None:
        whole = result if error is None else None
        self.put_outcome(
            Outcome(index=self.index, id=self.id, result=whole, error=error)
        )


def check_size(size: object) -> None:
    """Refuse what is no number of answers.

    Raises:
        OptionError: it is below 1, or no whole number.
    """
    if not isinstance(size, Integral) or size < 1:
        raise OptionError(
            f"batch_size is {size!r}; expected a whole number at least 1."
        )
