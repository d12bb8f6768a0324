"""Letters of choices in free wording, by hand."""

import pytest

from fastvlm_mlx.evaluate.scorers.letters import (
    ai2d,
    named_letter,
    realworldqa,
    scienceqa,
    seedbench,
)


@pytest.mark.parametrize(
    ("answer", "score"),
    [("B", 1), ("b", 1), ("(B)", 1), ("B. the root", 1), ("B the root", 0), ("A", 0)],
)
def test_ai2d(answer: str, score: int) -> None:
    assert ai2d(answer, "B") == score


@pytest.mark.parametrize(
    ("answer", "score"),
    [("B", 1), ("b", 1), ("B. iron", 1), ("b. iron", 0), ("(B)", 0), ("", 0)],
)
def test_scienceqa(answer: str, score: int) -> None:
    assert scienceqa(answer, "B") == score


@pytest.mark.parametrize(
    ("answer", "score"), [("B", 1), ("b) two", 1), ("Blue", 1), ("A", 0), ("", 0)]
)
def test_seedbench(answer: str, score: int) -> None:
    assert seedbench(answer, "B") == score


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("", ""),
        ("B", "B"),
        ("B.", "B"),
        ("'C'", "C"),
        ("The answer is B", "B"),
        ("Not (A) but (C) it seems", "C"),  # the last of equally sure ones
        ("A: no, the answer is D because", "A"),  # what begins the answer is surest
        ("I choose C, not D", "D"),  # what ends it is next
        ("none", ""),
        ("ABC", "C"),  # nothing better: the last letter there is
    ],
)
def test_named_letter(answer: str, letter: str) -> None:
    assert named_letter(answer, "ABCD") == letter


def test_realworldqa() -> None:
    assert realworldqa("B. two", "B") == 1
    assert realworldqa("Downhill.", "downhill") == 1
    assert realworldqa("2", "Two") == 0
