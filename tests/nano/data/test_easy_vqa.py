"""easy-vqa's images moved about: the shape stays whole, its box is right."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("easy_vqa")

from benchmarks.nano.data.easy_vqa import SIDES, draw_easy, vary
from benchmarks.nano.data.square import LABELS

BACKGROUND, SHAPE = (240, 230, 245), (20, 30, 200)


def image() -> "np.typing.NDArray[np.uint8]":
    pixels = np.empty((64, 64, 3), np.uint8)
    pixels[:] = BACKGROUND
    pixels[10:30, 40:52] = SHAPE
    return pixels


@given(st.integers())
def test_the_shape_is_moved_whole(seed: int) -> None:
    varied, (left, top, right, bottom) = vary(image(), random.Random(seed))
    shown = (varied == SHAPE).all(axis=2)
    assert shown.sum() == 20 * 12
    assert shown[top:bottom, left:right].sum() == 20 * 12
    assert ((varied == BACKGROUND).all(axis=2) | shown).all()
    assert all(SIDES[0] <= side <= SIDES[1] for side in varied.shape[:2])


def test_an_image_without_a_shape_stays_as_it_is() -> None:
    plain = np.full((64, 64, 3), 200, np.uint8)
    varied, _ = vary(plain, random.Random(0))
    assert (varied == 200).all()


def test_a_training_scene() -> None:
    scenes = [draw_easy("train", 0, index) for index in range(40)]
    assert {len(scene.questions) for scene in scenes} == {4}
    marks = [mark.label for scene in scenes for mark in scene.marks]
    assert marks
    assert set(marks) <= set(LABELS)
    assert draw_easy("train", 0, 3).questions == scenes[3].questions
