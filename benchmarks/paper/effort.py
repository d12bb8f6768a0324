"""How much is measured, and how often."""

import statistics
import time
from dataclasses import dataclass

from benchmarks.harness import Job


@dataclass(frozen=True)
class Effort:
    """What of a method is measured; what is not, is calculated."""

    runs: int  # at most, after one to warm up
    patience: float  # seconds of one job after which it is not repeated any more
    layers: int | None = None  # of each decoder; None: as many as fit
    every_chunk: bool = True  # of a long prefill

    def seconds(self, job: Job) -> float:
        """Median seconds of a job.

        A first run longer than `patience` counts as it is: starting up is little of it.
        """
        first = _timed(job)
        if first > self.patience:
            return first
        times: list[float] = []
        while len(times) < self.runs and sum(times) < self.patience:
            times.append(_timed(job))
        return statistics.median(times)


QUICK = Effort(runs=3, patience=4.0, layers=2, every_chunk=False)


def _timed(job: Job) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start
