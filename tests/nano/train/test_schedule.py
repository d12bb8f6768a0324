"""The learning rate rises, stays, and falls once its end is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")  # what the package imports

from benchmarks.nano.train.schedule import Schedule  # noqa: E402


def test_a_rise_then_a_plain_without_end() -> None:
    schedule = Schedule(rate=1e-3, warmup=10)
    assert schedule.at(0) == pytest.approx(1e-4)
    assert schedule.at(9) == schedule.at(10) == schedule.at(10**7) == 1e-3
    assert schedule.end is None


def test_the_fall() -> None:
    schedule = Schedule(rate=1e-3, warmup=10, fall_from=100, fall=50)
    assert schedule.at(99) == schedule.at(100) == 1e-3
    assert schedule.at(125) == pytest.approx(5e-4)
    assert schedule.at(149) < 2e-6
    assert schedule.end == 150


@given(st.integers(0, 1000), st.integers(1, 1000), st.integers(1, 100))
def test_it_never_rises_in_the_fall(begin: int, length: int, warmup: int) -> None:
    schedule = Schedule(1.0, warmup, fall_from=warmup + begin, fall=length)
    rates = [schedule.at(warmup + begin + step) for step in range(length + 2)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-12)
