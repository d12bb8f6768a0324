"""How often a job is run."""

import pytest

from benchmarks.paper import effort
from benchmarks.paper.effort import Effort


def test_a_long_job_is_not_repeated() -> None:
    times: list[int] = []
    Effort(runs=5, patience=0.0).seconds(lambda: times.append(1))
    assert len(times) == 1


def test_a_short_job_is_repeated_after_one_to_warm_up() -> None:
    times: list[int] = []
    Effort(runs=5, patience=1e9).seconds(lambda: times.append(1))
    assert len(times) == 1 + 5


def test_repeating_ends_with_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run takes three seconds of a clock of ours."""
    clock = iter(range(0, 100, 3))
    monkeypatch.setattr(effort.time, "perf_counter", lambda: float(next(clock)))
    times: list[int] = []
    took = Effort(runs=5, patience=4.0).seconds(lambda: times.append(1))
    assert took == 3.0 and len(times) == 1 + 2
