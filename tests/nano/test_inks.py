"""The colour of characters, told where they stand."""

import math

import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

from benchmarks.nano.inks import INKS, ink_labels, ink_loss  # noqa: E402
from benchmarks.nano.prompt import IGNORED  # noqa: E402
from benchmarks.nano.square import square  # noqa: E402
from benchmarks.nano.tasks import draw  # noqa: E402
from benchmarks.nano.tasks.scene import Mark  # noqa: E402


def test_inks_are_told_where_characters_are() -> None:
    made = square(Image.new("RGB", (128, 64)), 128)
    marks = [
        Mark("a", (70, 0, 80, 10), "red"),
        Mark("b", (0, 0, 9, 9)),
        Mark("red star", (0, 40, 9, 49)),
    ]
    assert ink_labels(marks, made).tolist() == [
        IGNORED,
        INKS.index("red"),
        IGNORED,
        IGNORED,
    ]


def test_all_characters_of_a_text_have_the_ink_that_is_asked_for() -> None:
    inks = 0
    for index in range(40):
        scene = draw("text", "train", 0, index)
        asked = [each for each in scene.questions if each.kind == "text/color"]
        (ink,) = {mark.ink for mark in scene.marks}
        inks += len(asked)
        assert (ink is None) == (not asked)
        assert all(ink is not None and ink in each.answer for each in asked)
    assert 5 < inks < 40


def test_the_loss_of_inks() -> None:
    labels = torch.tensor([[3, IGNORED]])
    logits = torch.zeros(1, 2, len(INKS))
    loss, right = ink_loss(logits, labels)
    assert loss.item() == pytest.approx(math.log(len(INKS)))
    assert right == 0.0
    logits[0, 0, 3] = 50.0
    assert ink_loss(logits, labels)[1] == 1.0
    assert ink_loss(logits, labels.fill_(IGNORED))[0].item() == 0.0
