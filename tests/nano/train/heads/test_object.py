"""The figure at a visual token: its name, its ninth and its size."""

import math

import pytest

torch = pytest.importorskip("torch")

from benchmarks.nano.data.square import IGNORED  # noqa: E402
from benchmarks.nano.data.tasks.canvas import NINTHS  # noqa: E402
from benchmarks.nano.data.tasks.figures import OBJECTS  # noqa: E402
from benchmarks.nano.data.tasks.scene import Mark  # noqa: E402
from benchmarks.nano.data.tasks.shape_questions import BIGGER  # noqa: E402
from benchmarks.nano.train.heads.object import (  # noqa: E402
    COLUMNS,
    NOTHING,
    OBJECT,
    SIZES,
    object_labels,
)
from tests.nano.train.heads.samples import judge, mark, sample  # noqa: E402


def test_a_ninth_is_one_of_the_image_without_its_bars() -> None:
    """256 x 64 becomes 128 x 32 between bars of 48: two rows of two visual tokens."""
    marks = [mark("red star", 20, 10), mark("blue ring", 240, 32), mark("a", 128, 32)]
    found = object_labels(sample(marks, size=(256, 64)))
    names = [(OBJECTS[each], NINTHS[at]) for each, at, _ in found[[0, 3]].tolist()]
    assert names == [("red star", "top left"), ("blue ring", "right")]
    assert found[1:3].tolist() == [[NOTHING, IGNORED, IGNORED]] * 2


def test_nothing_is_labelled_where_an_image_shows_no_figure() -> None:
    found = object_labels(sample([mark("a", 20, 20)]))
    assert set(found.flatten().tolist()) == {IGNORED}


def test_what_two_figures_of_one_visual_token_share_is_labelled() -> None:
    marks = [mark("red star", 9, 9), mark("red star", 55, 55)]
    one = object_labels(sample(marks[:1], (64, 64), 64))
    both = object_labels(sample(marks, (64, 64), 64))
    name = OBJECTS.index("red star")
    assert one[0, :2].tolist() == [name, 0]
    assert both.tolist() == [[name, IGNORED, one[0, 2].item()]]


def test_a_bigger_figure_has_a_larger_size() -> None:
    """An octave has four sizes, which is finer than what is called bigger."""
    sides = (2, 8, 8 * BIGGER, 64)
    marks = [Mark("red star", (0, 0, side, side)) for side in sides]
    found = [object_labels(sample([one], (64, 64), 64)) for one in marks]
    sizes = [each[0, 2].item() for each in found]
    assert sizes == sorted(set(sizes))
    assert (sizes[0], sizes[-1]) == (0, SIZES - 1)


def test_figures_are_learned_where_they_are_labelled() -> None:
    labels = torch.tensor([[[107, 8, IGNORED], [IGNORED] * 3]])
    scores = torch.zeros(1, 2, sum(COLUMNS.values()))
    first_ninth = COLUMNS["name"]
    scores[0, 0, 107], scores[0, 0, first_ninth] = 50.0, 50.0
    loss, right = judge(OBJECT, scores, labels)
    assert loss.item() == pytest.approx(50, rel=0.01)
    assert (right["name"], right["ninth"]) == (1.0, 0.0)
    assert math.isnan(right["size"])
    assert judge(OBJECT, scores, labels.fill_(IGNORED))[0].item() == 0.0


def test_figures_and_tokens_without_one_weigh_the_same() -> None:
    labels = torch.full((1, 3, len(COLUMNS)), IGNORED)
    labels[0, :, 0] = torch.tensor([5, NOTHING, NOTHING])
    loss, _ = judge(OBJECT, torch.zeros(1, 3, sum(COLUMNS.values())), labels)
    assert loss.item() == pytest.approx(2 * math.log(COLUMNS["name"]))
