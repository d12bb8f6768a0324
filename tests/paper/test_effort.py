"""How often a job is run."""

import dataclasses
import time

import pytest

from benchmarks.paper.effort import Effort


def test_a_long_job_is_run_once() -> None:
    times: list[int] = []
    Effort(runs=5, patience=0.0).seconds(lambda: times.append(1))
    assert len(times) == 1


def test_a_short_job_is_repeated() -> None:
    times: list[int] = []
    Effort(runs=5, patience=1e9).seconds(lambda: times.append(1))
    assert len(times) == 5


def test_the_least_of_the_runs_that_patience_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Runs of 4, 1 and 3 seconds by a clock of ours; 8 is more than 7."""
    clock = iter([0.0, 4.0, 10.0, 11.0, 20.0, 23.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    times: list[int] = []
    took = Effort(runs=5, patience=7.0).seconds(lambda: times.append(1))
    assert took == 1.0 and len(times) == 3


def test_waiting_is_not_in_processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds of work in nine of waiting, by clocks of ours."""
    own, wall = iter([1.0, 3.0]), iter([10.0, 19.0])
    monkeypatch.setattr(time, "process_time", lambda: next(own))
    monkeypatch.setattr(time, "perf_counter", lambda: next(wall))
    once = Effort(runs=1, patience=1.0)
    assert once.seconds(lambda: None) == 9.0
    assert dataclasses.replace(once, own_time=True).seconds(lambda: None) == 2.0
