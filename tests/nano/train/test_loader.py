"""Which of an image's questions a training step asks."""

import random
from collections import Counter

import pytest

pytest.importorskip("torch")
pytest.importorskip("tokenizers")

from benchmarks.nano.data.tasks.scene import Question  # noqa: E402
from benchmarks.nano.train.loader import SLOW, choose  # noqa: E402


def test_questions_are_drawn_once_and_slow_kinds_more_often() -> None:
    source = random.Random(0)
    slow = next(iter(SLOW))
    questions = [Question(f"{place}?", "a", "a/b") for place in range(3)]
    questions.append(Question("3?", "a", slow))
    drawn = [choose(source, questions, 1)[0].kind for _ in range(2000)]
    share = Counter(drawn)[slow] / 2000
    assert share == pytest.approx(SLOW[slow] / (3 + SLOW[slow]), abs=0.04)
    assert set(choose(source, questions, 9)) == set(questions)
    assert choose(source, [], 2) == []
