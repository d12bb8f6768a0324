"""VQA accuracy, by hand."""

import pytest

from fastvlm_mlx.evaluate.scorers.vqa import (
    evalai_form,
    vqa_accuracy,
    vqav2_accuracy,
    vqav2_form,
)


@pytest.mark.parametrize(
    ("agreeing", "score"),
    # each of 10 people is left out in turn; 3 agreeing others are enough
    [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)],
)
def test_ten_people(agreeing: int, score: float) -> None:
    people = ["red"] * agreeing + ["blue"] * (10 - agreeing)
    assert vqa_accuracy("red", people) == pytest.approx(score)
    assert vqav2_accuracy("red", people) == pytest.approx(score)


def test_nobody_asked() -> None:
    assert vqa_accuracy("red", []) == 0.0


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("The Red Ball", "red ball"),
        ("two", "2"),
        ("None", "0"),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("Coca-Cola", "coca cola"),
        ("yes!", "yes"),  # a sign with no blank beside it is a blank, and goes
        ("3.5", "3.5"),
        ("St. Louis.", "st louis"),
        ("1,000", "1000"),
        ("a\nb\tc", "b c"),
        ("", ""),
    ],
)
def test_forms_of_both(text: str, form: str) -> None:
    assert vqav2_form(text) == form
    assert evalai_form(text) == form


def test_where_the_two_differ() -> None:
    assert evalai_form("Joe's") == "joe 's"
    assert vqav2_form("Joe's") == "joe's"
    assert evalai_form("salt,pepper") == "saltpepper"
    assert vqav2_form("salt,pepper") == "salt pepper"


def test_an_answer_is_prepared_as_the_people_are() -> None:
    assert vqa_accuracy("The two dogs.", ["2 dogs"] * 10) == 1.0
