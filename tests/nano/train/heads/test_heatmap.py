"""Where the figures of a mention are: the places of the square, and their loss."""

import math

import pytest

torch = pytest.importorskip("torch")

from benchmarks.nano.data.conversations import Mention  # noqa: E402
from benchmarks.nano.data.tasks.scene import Mark  # noqa: E402
from benchmarks.nano.train.heads.heatmap import (  # noqa: E402
    HEATMAP,
    PLACES,
    RARE,
    SIDE,
    heatmap_head,
    heatmap_labels,
)
from benchmarks.nano.train.options import PRESETS  # noqa: E402
from tests.nano.train.heads.samples import judge, mark, sample  # noqa: E402


def marked(*figures: Mark, size: tuple[int, int] = (128, 128)) -> list[int]:
    labels = heatmap_labels(sample(figures, size), Mention(1, 0, figures))
    assert len(labels) == PLACES and set(labels) <= {0, 1}
    return [place for place, label in enumerate(labels) if label]


@pytest.mark.parametrize(
    ("point", "place"),
    [
        ((1, 1), 0),
        ((127, 1), SIDE - 1),
        ((1, 127), PLACES - SIDE),
        ((64, 32), SIDE * SIDE // 4 + SIDE // 2),
    ],
)
def test_the_places_are_numbered_row_by_row(
    point: tuple[float, float], place: int
) -> None:
    assert marked(mark("red star", *point)) == [place]


def test_the_places_of_all_figures_are_marked() -> None:
    """In a wide image, which bars of 32 pixels make square."""
    top_left, right = mark("red circle", 20, 20), mark("red star", 236, 64)
    # Their middles are at (10, 42) and (118, 64) of the square's 128 pixels.
    places = [
        SIDE * (y * SIDE // 128) + x * SIDE // 128 for x, y in ((10, 42), (118, 64))
    ]
    assert marked(top_left, right, size=(256, 128)) == places
    assert marked(right, size=(256, 128)) == places[1:]
    assert marked() == []


def test_a_head_begins_by_marking_nothing() -> None:
    head = heatmap_head(PRESETS["cpu"])
    assert head.get_parameter("bias").tolist() == [RARE] * PLACES
    assert head(torch.zeros(3, PRESETS["cpu"].hidden)).shape == (3, PLACES)


def test_a_mention_is_right_without_a_mistake() -> None:
    labels = torch.zeros(3, PLACES, dtype=torch.int64)
    labels[0, [4, 9]], labels[1, 5] = 1, 1
    scores = torch.where(labels > 0, 50.0, -50.0)
    loss, measures = judge(HEATMAP, scores, labels)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert measures["right"] == 1.0
    scores[0, 7] = 50.0  # one place too many
    loss, measures = judge(HEATMAP, scores, labels)
    assert loss.item() == pytest.approx(50 / 3)
    assert measures["right"] == 0.5  # of the mentions that mean any figure


def test_no_mentions_are_no_loss() -> None:
    labels = torch.zeros(0, PLACES, dtype=torch.int64)
    loss, measures = judge(HEATMAP, torch.zeros(0, PLACES), labels)
    assert loss.item() == 0.0
    assert math.isnan(measures["right"])
