"""The Pareto front: what no other point beats."""

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.curve.accuracy import Scored
from benchmarks.curve.pareto import Point, pareto_front
from benchmarks.curve.setting import Setting


def point(seconds: float, accuracy: float, tokens: int = 4) -> Point:
    scored = Scored(Setting("static", 128), accuracy, 10, (0.0, 100.0))
    return Point(scored, tokens, seconds)


def qualities(point: Point) -> tuple[float, float]:
    return -point.seconds, point.scored.accuracy


def beats(one: Point, other: Point) -> bool:
    """As good in both, and better in one."""
    mine, others = qualities(one), qualities(other)
    return mine != others and all(a >= b for a, b in zip(mine, others, strict=True))


def test_slower_and_worse_is_not_on_it() -> None:
    fast, good, bad = point(1, 50), point(3, 80), point(2, 40)
    assert pareto_front([good, bad, fast]) == [fast, good]


def test_slower_for_nothing_is_not_on_it() -> None:
    assert pareto_front([point(2, 50), point(1, 50)]) == [point(1, 50)]


def test_of_equals_the_one_of_fewer_tokens_stays() -> None:
    assert pareto_front([point(1, 50, 9), point(1, 50, 4)]) == [point(1, 50, 4)]


POINTS = st.builds(point, st.integers(1, 5), st.integers(0, 5), st.integers(1, 3))


@given(st.lists(POINTS))
def test_the_front_is_what_nothing_beats(points: list[Point]) -> None:
    front = [qualities(each) for each in pareto_front(points)]
    unbeaten = {
        qualities(each)
        for each in points
        if not any(beats(other, each) for other in points)
    }
    assert front == sorted(unbeaten, reverse=True)
