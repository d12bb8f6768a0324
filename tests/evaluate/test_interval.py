"""Intervals against published values and their own properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastvlm_mlx.evaluate.interval import bootstrap_mean, wilson


@pytest.mark.parametrize(
    ("right", "asked", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson(right: int, asked: int, low: float, high: float) -> None:
    assert wilson(right, asked) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share(given: tuple[int, int]) -> None:
    right, asked = given
    low, high = wilson(right, asked)
    assert 0 <= low <= right / asked + 1e-12 and right / asked - 1e-12 <= high <= 1


def test_no_question_no_interval() -> None:
    with pytest.raises(ValueError, match="at least one"):
        wilson(0, 0)


def test_the_bootstrap_is_near_the_normal_interval() -> None:
    scores = np.random.default_rng(1).choice([0, 0.3, 0.6, 1], 4000).tolist()
    half = 1.96 * np.std(scores) / np.sqrt(len(scores))
    low, high = bootstrap_mean(scores)
    middle = np.mean(scores)
    assert low == pytest.approx(middle - half, abs=half / 20)
    assert high == pytest.approx(middle + half, abs=half / 20)


def test_the_bootstrap_of_equal_scores_is_a_point() -> None:
    assert bootstrap_mean([0.5] * 7) == (0.5, 0.5)


def test_the_bootstrap_is_repeatable() -> None:
    assert bootstrap_mean([0, 0.3, 1]) == bootstrap_mean([0, 0.3, 1])
