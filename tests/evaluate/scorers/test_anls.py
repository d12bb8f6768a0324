"""Letters that differ, by hand and by properties of a distance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastvlm_mlx.evaluate.scorers.anls import anls, edits

WORDS = st.text(alphabet="abc ", max_size=8)


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2)],
)
def test_edits(first: str, second: str, distance: int) -> None:
    assert edits(first, second) == distance


@given(WORDS, WORDS, WORDS)
def test_edits_are_a_distance(a: str, b: str, c: str) -> None:
    assert edits(a, b) == edits(b, a)
    assert (edits(a, b) == 0) == (a == b)
    assert edits(a, c) <= edits(a, b) + edits(b, c)


@pytest.mark.parametrize(
    ("answer", "right", "score"),
    [
        ("1995", ["1995"], 1.0),
        ("The  Answer", ["the answer"], 1.0),  # blanks and case do not count
        ("199S", ["1995"], 0.75),
        ("19", ["1995"], 0.5),  # half is enough
        ("1", ["1995"], 0.0),
        ("b", ["aaaa", "b"], 1.0),  # the nearest of several
        ("", ["abc"], 0.0),
        ("", [""], 1.0),
    ],
)
def test_anls(answer: str, right: list[str], score: float) -> None:
    assert anls(answer, right) == pytest.approx(score)
