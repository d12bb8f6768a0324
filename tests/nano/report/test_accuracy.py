"""Wilson's confidence interval of a share of right answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.nano.report.accuracy import Accuracy
from fastvlm_mlx.evaluate.interval import NORMAL


def counts() -> st.SearchStrategy[tuple[int, int]]:
    return st.integers(1, 10_000).flatmap(
        lambda asked: st.tuples(st.integers(0, asked), st.just(asked))
    )


def test_the_textbook_value() -> None:
    # Brown, Cai and DasGupta, "Interval Estimation for a Binomial Proportion" (2001)
    # give the formula; 5 of 10 by hand: 0.5 ± 0.2634 after shrinking.
    low, high = Accuracy(5, 10).interval
    assert (low, high) == pytest.approx((23.66, 76.34), abs=0.01)


@given(counts())
def test_it_holds_the_share_and_stays_within_bounds(pair: tuple[int, int]) -> None:
    score = Accuracy(*pair)
    low, high = score.interval
    assert -1e-9 <= low <= score.percent + 1e-9 <= high + 2e-9 <= 100 + 3e-9
    assert low < high


@given(counts())
def test_its_bounds_are_where_the_normal_test_just_fails(pair: tuple[int, int]) -> None:
    """The interval holds the shares p with |share - p| <= z sqrt(p (1 - p) / n)."""
    right, asked = pair
    for bound in Accuracy(right, asked).interval:
        p = bound / 100
        if 0 < p < 1:
            distance = abs(right / asked - p)
            assert distance == pytest.approx(
                NORMAL * (p * (1 - p) / asked) ** 0.5, abs=1e-6
            )


def test_scores_add_up() -> None:
    assert Accuracy(1, 2) + Accuracy(3, 5) == Accuracy(4, 7)
