"""The colour of characters, labelled where they stand."""

import math

import pytest

torch = pytest.importorskip("torch")

from benchmarks.nano.data.square import IGNORED  # noqa: E402
from benchmarks.nano.data.tasks import draw  # noqa: E402
from benchmarks.nano.data.tasks.scene import Mark  # noqa: E402
from benchmarks.nano.train.heads.colour import (  # noqa: E402
    COLOUR,
    COLOURS,
    colour_labels,
)
from tests.nano.train.heads.samples import judge, sample  # noqa: E402


def test_colours_are_labelled_where_characters_are() -> None:
    marks = [
        Mark("a", (70, 0, 80, 10), "red"),
        Mark("b", (0, 0, 9, 9)),
        Mark("red star", (0, 40, 9, 49)),
    ]
    red = COLOURS.index("red")
    found = colour_labels(sample(marks, size=(128, 64))).tolist()
    assert found == [IGNORED, red, IGNORED, IGNORED]


def test_all_characters_of_a_text_have_the_colour_that_is_asked_for() -> None:
    named = 0
    for index in range(40):
        scene = draw("text", "train", 0, index)
        asked = [each for each in scene.questions if each.kind == "text/color"]
        (ink,) = {mark.ink for mark in scene.marks}
        named += len(asked)
        assert (ink is None) == (not asked)
        assert all(ink is not None and ink in each.answer for each in asked)
    assert 5 < named < 40


def test_the_loss_of_colours() -> None:
    labels = torch.tensor([[3, IGNORED]])
    logits = torch.zeros(1, 2, len(COLOURS))
    loss, measures = judge(COLOUR, logits, labels)
    assert loss.item() == pytest.approx(math.log(len(COLOURS)))
    assert measures["right"] == 0.0
    logits[0, 0, 3] = 50.0
    assert judge(COLOUR, logits, labels)[1]["right"] == 1.0
    assert judge(COLOUR, logits, labels.fill_(IGNORED))[0].item() == 0.0
