"""What a training step draws depends on the seed and the step alone."""

from collections import Counter

import pytest

pytest.importorskip("easy_vqa")

from benchmarks.nano.data.easy_vqa import EASY
from benchmarks.nano.data.mixture import (
    COARSE,
    COARSE_SHARES,
    RESOLUTIONS,
    SHARES,
    SHEETS,
    SMALL,
    SMALL_SHARES,
    Mixture,
    draw_scene,
    held_out_scenes,
)
from benchmarks.nano.data.sheets import SIDE, draw_sheet

MIXTURE = Mixture(seed=3, naming=10, small=15, images=4)


def test_a_step_is_the_same_in_any_order() -> None:
    alone = MIXTURE.scenes(25)
    for step in (11, 30):
        MIXTURE.scenes(step)
    again = Mixture(3, 10, 15, 4).scenes(25)
    assert [each.questions for each in alone] == [each.questions for each in again]
    assert [s.image.tobytes() for s in alone] == [s.image.tobytes() for s in again]


def test_steps_and_seeds_differ() -> None:
    drawn = [Mixture(seed, 0, 0, 4).scenes(step) for seed in (0, 1) for step in (5, 6)]
    images = {scenes[0].image.tobytes() for scenes in drawn}
    assert len(images) == 4


def test_shares_are_shares() -> None:
    for step in (0, 10, 15, 20):
        assert sum(MIXTURE.shares(step).values()) == pytest.approx(1)
    assert set(MIXTURE.shares(0)) == set(MIXTURE.shares(15)) == {SHEETS, *SHARES}
    assert MIXTURE.shares(15)[SHEETS] < MIXTURE.shares(9)[SHEETS]
    assert set(COARSE_SHARES) == set(SHARES) > set(SMALL_SHARES)


def test_most_small_images_are_shapes_and_most_large_ones_texts() -> None:
    steps: dict[int, int] = {MIXTURE.resolution(step): step for step in range(15, 20)}
    small, large = (MIXTURE.shares(steps[each]) for each in (min(steps), max(steps)))
    assert min(steps) <= COARSE < max(steps)
    assert small["shapes"] > small["text"]
    assert large["shapes"] < large["text"]


def test_something_is_asked_in_every_later_step() -> None:
    single = Mixture(0, 0, 0, images=1)
    for step in range(40):
        assert any(scene.questions for scene in single.scenes(step))


def test_questions_begin_with_small_images() -> None:
    assert {MIXTURE.resolution(step) for step in range(10, 15)} == {SMALL}
    assert SHEETS not in MIXTURE.shares(10)
    sides = {MIXTURE.resolution(step) for step in (*range(10), *range(15, 60))}
    assert sides == set(RESOLUTIONS)


def test_resolutions_come_as_often_as_they_should() -> None:
    drawn = Counter(MIXTURE.resolution(step) for step in range(20, 4020))
    for side, share in RESOLUTIONS.items():
        assert drawn[side] / 4000 == pytest.approx(share, abs=0.03)


def test_a_step_has_about_the_same_number_of_pixels() -> None:
    mixture = Mixture(0, 0, 0, images=24)
    assert {side: mixture.count(side) for side in RESOLUTIONS} == {
        128: 48,
        256: 24,
        384: 10,
        512: 6,
    }


def test_sheets_are_full_of_marks_inside_them() -> None:
    sheet = draw_sheet(0, 0)
    assert len(sheet.marks) > 40
    middles = [
        ((left + right) / 2, (top + bottom) / 2)
        for left, top, right, bottom in (mark.box for mark in sheet.marks)
    ]
    assert all(0 <= x <= SIDE for x, _ in middles)
    assert draw_sheet(0, 0).marks == sheet.marks


def test_training_sees_no_held_out_image_of_easy_vqa() -> None:
    held_out = draw_scene(EASY, "test", 0, 0)
    assert held_out.image.size == (64, 64)
    assert not held_out.marks


def test_the_easy_vqa_test_split_is_whole() -> None:
    scenes = held_out_scenes(EASY, 1000)
    assert len(scenes) == 1000
    assert sum(len(scene.questions) for scene in scenes) == 9673
