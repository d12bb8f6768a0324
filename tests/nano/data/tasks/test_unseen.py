"""Training never draws what is kept for the test; the test draws both."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageFont

from benchmarks.nano.data import tasks
from benchmarks.nano.data.tasks import fonts
from benchmarks.nano.data.tasks.fonts import UNSEEN, Face, draw_face, train_fonts
from benchmarks.nano.data.tasks.holdout import Split, draw_value, held_out
from benchmarks.nano.data.tasks.shapes import is_unseen as unseen_kinds
from benchmarks.nano.data.tasks.text import Writing, draw_writing
from benchmarks.nano.data.tasks.wording import FAMILIAR, is_unseen_number, words

seeds = st.integers(0, 2**32)


def said_words(writing: Writing) -> set[str]:
    if writing.what not in ("word", "line", "both"):
        return set()
    return {text.lower() for text in writing.text.split() if text.isalpha()}


def said_numbers(writing: Writing) -> list[str]:
    parts = [part.lstrip("$€£") for part in writing.text.split()]
    return [part for part in parts if part[0].isdigit()]


@given(seeds)
def test_training_texts_are_seen_ones(seed: int) -> None:
    writing = draw_writing(Random(seed), "train", capitals=False)
    assert not writing.unseen
    assert not said_words(writing) & set(words(True))
    assert not any(map(is_unseen_number, said_numbers(writing)))


@given(seeds)
def test_test_texts_say_whether_they_are_unseen(seed: int) -> None:
    writing = draw_writing(Random(seed), "test", capitals=False)
    fresh = any(map(is_unseen_number, said_numbers(writing)))
    assert writing.unseen == (bool(said_words(writing) & set(words(True))) or fresh)


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_training_figures_are_seen_combinations(seed: int) -> None:
    splits: dict[Split, set[bool]] = {"train": {False}, "test": {False, True}}
    for split, allowed in splits.items():
        scene = tasks.draw("shapes", split, seed, 0)
        colors, shapes = zip(*(mark.label.split() for mark in scene.marks), strict=True)
        unseen = unseen_kinds(list(zip(colors, shapes, strict=True)))
        assert unseen in allowed
        named = {one.kind.endswith("-unseen") for one in scene.questions}
        assert named == {unseen}


@pytest.mark.parametrize("task", tasks.TASKS)
def test_training_opens_no_unseen_font(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Face] = []
    load = fonts.load_font

    def noted(face: Face, size: int) -> ImageFont.FreeTypeFont:
        opened.append(face)
        return load(face, size)

    monkeypatch.setattr(fonts, "load_font", noted)
    for index in range(60):
        tasks.draw(task, "train", 11, index)
    assert not {face.family.name for face in opened} & UNSEEN
    assert opened or task == "shapes"


def test_the_test_draws_seen_and_unseen_fonts() -> None:
    drawn = Counter(draw_face(Random(i), "test").unseen for i in range(600))
    assert 130 < drawn[True] < 270
    assert not any(face.unseen for face in train_fonts())
    assert {one.name for one in fonts.FAMILIES} >= UNSEEN


def test_every_family_has_faces() -> None:
    for family in fonts.FAMILIES:
        assert fonts.faces(family), family.name


def test_a_missing_package_is_named() -> None:
    family = fonts.Family("Nowhere", "font_of_nowhere", "*.ttf")
    with pytest.raises(ModuleNotFoundError, match="font_of_nowhere.*nano"):
        fonts.faces(family)


def test_a_tenth_of_the_words_is_unseen() -> None:
    seen, unseen = words(False), words(True)
    assert len(seen) + len(unseen) == 2048
    assert not set(seen) & set(unseen)
    assert 0.08 < len(unseen) / 2048 < 0.12


def test_the_choice_is_written_down() -> None:
    """The hash decides what a trained model has seen: it may never change."""
    assert list(words(True)[:4]) == ["acquire", "actress", "actual", "age"]
    assert not held_out("word", "ability")
    assert FAMILIAR <= set(words(False))
    assert all(held_out("word", word) for word in FAMILIAR)


def test_values_that_are_all_alike_are_refused() -> None:
    with pytest.raises(RuntimeError, match="vary more"):
        draw_value(lambda: 1, True, lambda value: False)
