"""MMMU's reading of answers, by hand."""

import pytest

from fastvlm_mlx.evaluate.scorers.mmmu import (
    chosen_letter,
    key_values,
    multiple_choice,
    open_question,
)

CHOICES = {"A": "a copper wire", "B": "a glass rod", "C": "a rubber band"}


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("B.", "B"),
        ("A or (C)", "C"),  # brackets come first
        ("A and B both", "B"),  # the last of several
        ("I think that it must be a glass rod", "B"),  # by its text
        ("a glass rod", None),  # too short for that
        ("who knows", None),
        ("", None),
    ],
)
def test_chosen_letter(answer: str, letter: str | None) -> None:
    assert chosen_letter(answer, CHOICES) == letter


def test_no_letter_is_wrong() -> None:
    assert multiple_choice("who knows", CHOICES, "A") == 0
    assert multiple_choice("A", CHOICES, "A") == 1


@pytest.mark.parametrize(
    ("answer", "right", "score"),
    [
        ("24/7", ["24/7"], 1),
        ("The answer is 12.5.", ["12.5"], 1),
        ("x = 1,200", ["1200"], 1),
        ("so the total is 3.14159", ["3.14"], 1),  # to two decimals
        ("so the total is 3.15", ["3.14"], 0),
        ("Newton", ["newton"], 1),
        ("by Isaac Newton", ["newton"], 1),  # within a key part
        ("c", ["c"], 1),
        ("cat", ["c"], 0),  # a single letter stands alone
        ("1", ["2", "1"], 1),
    ],
)
def test_open_question(answer: str, right: list[str], score: int) -> None:
    assert open_question(answer, right) == score


def test_key_values() -> None:
    assert key_values("Thus the sum is 7\nso x = 9") == {7.0, 9.0}
