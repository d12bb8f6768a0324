"""The square that an image becomes: its points, visual tokens and labelled cells."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks.nano.data.square import (
    EMPTY,
    IGNORED,
    LABEL_COUNT,
    LABELS,
    OTHER,
    Square,
    cell_labels,
    square,
)
from benchmarks.nano.data.tasks.scene import Mark


def blank(side: int, scale: float, offset: tuple[int, int]) -> Square:
    return Square(np.zeros((3, side, side), np.uint8), scale, offset)


def labels(*marks: Mark) -> NDArray[np.int64]:
    return cell_labels(marks, blank(128, 1.0, (0, 0)))


def test_every_label_has_its_own_number() -> None:
    numbers = sorted({*LABELS.values(), EMPTY, OTHER})
    assert numbers == list(range(LABEL_COUNT))


def test_the_cell_of_the_middle() -> None:
    found = labels(Mark("A", (18, 20, 26, 40)))  # its middle is (22, 30)
    assert found.shape == (8, 16)
    assert found[1, 2] == LABELS["A"]
    assert (found != EMPTY).sum() == 1


def test_scale_and_padding() -> None:
    # An image of 128 x 64 is padded by 32 rows on top and scaled to 256 x 256.
    mark = Mark("red circle", (40, 10, 60, 30))
    made = square(Image.new("RGB", (128, 64)), 256)
    found = cell_labels([mark], made)
    assert found[int((20 + 32) * 2 // 16), int(50 * 2 // 8)] == LABELS["red circle"]
    assert (made.pixels.shape, made.resolution) == ((3, 256, 256), 256)


def test_what_cannot_be_recognized() -> None:
    two = labels(Mark("i", (0, 0, 3, 12)), Mark("l", (4, 0, 7, 12)))
    assert two[0, 0] == IGNORED
    assert labels(Mark("a", (0, 0, 4, 5)))[0, 0] == IGNORED
    assert labels(Mark("toggle", (0, 0, 8, 8)))[0, 0] == OTHER


def test_a_mark_outside_labels_nothing() -> None:
    outside = [Mark("a", (-30, 0, -10, 20)), Mark("a", (0, 200, 10, 220))]
    assert (labels(*outside) == EMPTY).all()


@pytest.mark.parametrize(
    ("point", "token"), [((0, 0), 0), ((127, 63), 3), ((-9, 70), 2), ((500, -500), 1)]
)
def test_every_point_is_in_a_visual_token(
    point: tuple[float, float], token: int
) -> None:
    made = square(Image.new("RGB", (128, 64)), 128)
    assert made.tokens == 4
    assert made.token(point) == token
