"""The right words and no others."""

from fastvlm_mlx.evaluate.scorers.exact import (
    any_same_words,
    same_text,
    same_words,
    same_yes_or_no,
)


def test_the_same_text() -> None:
    assert same_text("red", "red") == 1
    assert same_text("Red", "red") == 0


def test_the_same_words() -> None:
    assert same_words("Yes.", "yes") == 1
    assert same_words("t-shirt", "tshirt") == 1
    assert same_words("yes it is", "yes") == 0


def test_one_of_several() -> None:
    assert any_same_words("Grey!", ["gray", " grey "]) == 1
    assert any_same_words("green", ["gray", "grey"]) == 0


def test_yes_or_no_is_strict() -> None:
    assert same_yes_or_no("YES", "yes") == 1
    assert same_yes_or_no("yes.", "yes") == 0
    assert same_yes_or_no("yes, there is", "yes") == 0
