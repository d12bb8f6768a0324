"""Which cell of the padded and resized picture a mark labels."""

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("PIL")

from benchmarks.nano.labels import (
    EMPTY,
    LABEL_COUNT,
    LABELS,
    OTHER,
    UNTOLD,
    cell_labels,
)
from benchmarks.nano.placement import Placement
from benchmarks.nano.tasks.scene import Mark


def labels(*marks: Mark) -> NDArray[np.int64]:
    return cell_labels(marks, Placement(1.0, (0, 0)), 128)


def test_every_label_has_its_own_number() -> None:
    numbers = sorted({*LABELS.values(), EMPTY, OTHER})
    assert numbers == list(range(LABEL_COUNT))


def test_the_cell_of_the_middle() -> None:
    found = labels(Mark("A", (18, 20, 26, 40)))  # its middle is (22, 30)
    assert found.shape == (8, 16)
    assert found[1, 2] == LABELS["A"]
    assert (found != EMPTY).sum() == 1


def test_scale_and_padding() -> None:
    # A picture of 100 x 50 is padded by 25 rows on top and scaled to 200 x 200.
    mark = Mark("red circle", (40, 10, 60, 30))
    found = cell_labels([mark], Placement(2.0, (0, 25)), 256)
    assert found[int((20 + 25) * 2 // 16), int(50 * 2 // 8)] == LABELS["red circle"]


def test_what_cannot_be_told() -> None:
    two = labels(Mark("i", (0, 0, 3, 12)), Mark("l", (4, 0, 7, 12)))
    assert two[0, 0] == UNTOLD
    assert labels(Mark("a", (0, 0, 4, 5)))[0, 0] == UNTOLD
    assert labels(Mark("toggle", (0, 0, 8, 8)))[0, 0] == OTHER


def test_a_mark_outside_labels_nothing() -> None:
    outside = [Mark("a", (-30, 0, -10, 20)), Mark("a", (0, 200, 10, 220))]
    assert (labels(*outside) == EMPTY).all()
