"""How much is measured, and how often."""

import time
from dataclasses import dataclass

from benchmarks.measuring.harness import Job


@dataclass(frozen=True)
class Effort:
    """What of a method is measured; what is not, is calculated."""

    runs: int  # of each job, at most
    patience: float  # seconds of one job after which it is not repeated any more
    layers: int | None = None  # of each decoder; None: as many as fit
    every_chunk: bool = True  # of a long prefill

    def seconds(self, job: Job) -> float:
        """The least seconds of a job.

        Methods are measured one after another, minutes apart, so what disturbs one does
        not disturb the other; whatever it is, it only ever adds.
        """
        times = [_timed(job)]
        while len(times) < self.runs and sum(times) < self.patience:
            times.append(_timed(job))
        return min(times)


QUICK = Effort(runs=4, patience=12.0, layers=2, every_chunk=False)


def _timed(job: Job) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start
