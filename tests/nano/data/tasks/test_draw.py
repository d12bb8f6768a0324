"""What holds for every task: same arguments, same scene; sizes, kinds and marks."""

import hashlib
import random
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from benchmarks.nano.data import tasks
from benchmarks.nano.data.tasks.holdout import Split
from benchmarks.nano.data.tasks.scene import Scene

ROOT = Path(__file__).parents[4]
ENDINGS = ("", "-unseen", "-unseen-font", "-unseen-both")
NUMBER = 150  # Scenes of a task that the tests look at.

# Every kind that a task asks in training.
KINDS = {
    "shapes": "color shape count position position-yes-no compare yes-no",
    "text": "word letters line number price time year letter part color",
    "captions": "shapes text",
}

MIXED = {"shapes": 0.37, "text": 0.5, "captions": 0.06}  # roughly as training does


@cache
def scenes(task: str, split: Split) -> list[Scene]:
    return [tasks.draw(task, split, 5, index) for index in range(NUMBER)]


def digest(scene: Scene) -> str:
    said = repr((scene.image.size, scene.questions, scene.marks)).encode()
    return hashlib.sha256(scene.image.tobytes() + said).hexdigest()


def digests() -> list[str]:
    return [digest(tasks.draw(task, "test", 9, 4)) for task in tasks.TASKS]


def test_another_process_draws_the_same_bytes() -> None:
    here = digests()
    random.seed(1)  # no global random numbers are used
    assert digests() == here
    program = (
        "import runpy; names = runpy.run_path('tests/nano/data/tasks/test_draw.py'); "
        "print('\\n'.join(names['digests']()))"
    )
    command = [sys.executable, "-c", program]
    there = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert there.stdout.split() == here, there.stderr


@pytest.mark.parametrize("task", tasks.TASKS)
def test_seed_index_and_split_all_count(task: str) -> None:
    drawn: list[tuple[Split, int, int]] = [
        ("train", 0, 0),
        ("train", 0, 1),
        ("train", 1, 0),
        ("test", 0, 0),
    ]
    assert len({digest(tasks.draw(task, *at)) for at in drawn}) == len(drawn)


@pytest.mark.parametrize("task", tasks.TASKS)
def test_an_image_is_rgb_of_known_size(task: str) -> None:
    sizes = [scene.image.size for scene in scenes(task, "train")]
    assert {scene.image.mode for scene in scenes(task, "train")} == {"RGB"}
    assert all(64 <= min(size) and max(size) <= 640 for size in sizes)
    assert all(max(size) <= 2.2 * min(size) for size in sizes)
    square = sum(width == height for width, height in sizes) / len(sizes)
    assert 0.3 < square < 0.75
    assert any(width > height for width, height in sizes)
    assert any(width < height for width, height in sizes)


@pytest.mark.parametrize("task", tasks.TASKS)
def test_every_kind_is_asked(task: str) -> None:
    asked = Counter(
        one.kind for scene in scenes(task, "train") for one in scene.questions
    )
    expected = {f"{task}/{what}" for what in KINDS[task].split()}
    assert {kind for kind in asked if kind.startswith(task)} == expected


@pytest.mark.parametrize("task", tasks.TASKS)
def test_the_test_split_names_what_is_unseen(task: str) -> None:
    kinds = {one.kind for scene in scenes(task, "test") for one in scene.questions}
    known = {f"{name}/{what}" for name in KINDS for what in KINDS[name].split()}
    for kind in kinds:
        assert any(kind == one + ending for one in known for ending in ENDINGS), kind
    assert any(kind.endswith("-unseen") for kind in kinds)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("task", tasks.TASKS)
def test_every_question_has_one_answer(task: str, split: Split) -> None:
    for scene in scenes(task, split):
        assert scene.questions
        assert len({one.text for one in scene.questions}) == len(scene.questions)
        assert all(
            one.answer and one.answer == one.answer.strip() for one in scene.questions
        )


@pytest.mark.parametrize("task", tasks.TASKS)
def test_a_sentence_is_answered_where_one_is_asked_for(task: str) -> None:
    for scene in scenes(task, "train"):
        for one in scene.questions:
            wanted = one.text.startswith("Describe") or "in a sentence" in one.text
            assert wanted == (one.answer.endswith(".") and " " in one.answer), one


def test_about_a_fifth_of_the_answers_are_sentences() -> None:
    sentences = total = 0.0
    for task, share in MIXED.items():
        for scene in scenes(task, "train"):
            long = [one.answer.endswith(".") for one in scene.questions]
            sentences += share * sum(long) / len(long)
            total += share
    assert 0.15 < sentences / total < 0.3


@pytest.mark.parametrize("task", tasks.TASKS)
def test_marks_lie_in_the_image(task: str) -> None:
    for scene in scenes(task, "train"):
        assert scene.marks
        width, height = scene.image.size
        for mark in scene.marks:
            left, top, right, bottom = mark.box
            assert left < right and top < bottom, mark
            inside = (left + right) / 2, (top + bottom) / 2
            assert 0 <= inside[0] <= width and 0 <= inside[1] <= height, mark
