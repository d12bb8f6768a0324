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
    own_time: bool = False  # this process's processor time, not the clock's

    def seconds(self, job: Job) -> float:
        """The least seconds of a job.

        Methods are measured one after another, minutes apart, so what disturbs one does
        not disturb the other; whatever it is, it only ever adds.
        """
        times = [self._timed(job)]
        while len(times) < self.runs and sum(times) < self.patience:
            times.append(self._timed(job))
        return min(times)

    def _timed(self, job: Job) -> float:
        clock = time.process_time if self.own_time else time.perf_counter
        start = clock()
        job()
        return clock() - start


QUICK = Effort(runs=4, patience=12.0, layers=2, every_chunk=False)
