"""Which settings no other one beats."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.curve.accuracy import Scored


@dataclass(frozen=True)
class Point:
    """A setting's accuracy, and its seconds to the first token on this machine."""

    scored: Scored
    tokens: int
    seconds: float


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Points for which none is both as fast and as accurate, from the fastest on.

    Of two that are equal in both, the one of fewer tokens stays.
    """
    front: list[Point] = []
    for point in sorted(points, key=_from_the_best):
        if not front or point.scored.accuracy > front[-1].scored.accuracy:
            front.append(point)
    return front


def _from_the_best(point: Point) -> tuple[float, float, int]:
    return point.seconds, -point.scored.accuracy, point.tokens
