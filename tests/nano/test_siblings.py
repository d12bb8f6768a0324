"""How many figures are like the one at a visual token."""

import math

import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

from benchmarks.nano.prompt import IGNORED  # noqa: E402
from benchmarks.nano.siblings import TOLD, sibling_labels, sibling_loss  # noqa: E402
from benchmarks.nano.square import square  # noqa: E402
from benchmarks.nano.tallies import MOST  # noqa: E402
from benchmarks.nano.tasks.scene import Mark  # noqa: E402

MADE = square(Image.new("RGB", (128, 128)), 128)  # Two rows of two visual tokens.


def mark(label: str, x: float, y: float) -> Mark:
    return Mark(label, (x - 4, y - 4, x + 4, y + 4))


def test_a_figure_is_told_how_many_others_are_like_it() -> None:
    marks = [mark("red star", 9, 9), mark("red star", 99, 9), mark("red ring", 9, 99)]
    found = sibling_labels(marks, MADE)
    assert list(TOLD) == ["same_name", "same_color", "same_shape"]
    star, ring, nothing = [1, 2, 1], [0, 2, 0], [IGNORED] * 3
    assert found.tolist() == [star, star, ring, nothing]


def test_where_two_figures_differ_only_what_they_share_is_told() -> None:
    marks = [mark("red star", 9, 9), mark("red ring", 40, 40), mark("blue ring", 99, 9)]
    found = sibling_labels(marks, MADE)
    assert found[:2].tolist() == [[0, 1, IGNORED], [0, 0, 1]]


@pytest.mark.parametrize(
    "labels", [[], ["a"], ["red star", "bar"], ["red star"] * (MOST + 1)]
)
def test_what_is_not_told(labels: list[str]) -> None:
    found = sibling_labels([mark(each, 9, 9) for each in labels], MADE)
    assert set(found.flatten().tolist()) == {IGNORED}


def test_figures_with_siblings_and_without_weigh_the_same() -> None:
    labels = torch.tensor([[[0, IGNORED, IGNORED]] * 5 + [[2, IGNORED, IGNORED]]])
    scores = torch.zeros(1, 6, sum(TOLD.values()))
    loss, right = sibling_loss(scores, labels, "told")
    assert loss.item() == pytest.approx(math.log(MOST))
    assert right["told_same_name"] == 0.0
    assert math.isnan(right["told_same_color"])
    scores[0, 5, 2] = 50.0
    loss, right = sibling_loss(scores, labels, "told")
    assert loss.item() == pytest.approx(math.log(MOST) / 2)
    assert right["told_same_name"] == 1.0
    assert sibling_loss(scores, labels.fill_(IGNORED), "told")[0].item() == 0.0
