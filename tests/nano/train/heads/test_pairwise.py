"""How the second figure that a question mentions compares with the first."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")

from benchmarks.nano.data.conversations import Mention  # noqa: E402
from benchmarks.nano.data.square import IGNORED  # noqa: E402
from benchmarks.nano.data.tasks.scene import Mark  # noqa: E402
from benchmarks.nano.train.heads.pairwise import (  # noqa: E402
    COLUMNS,
    PAIRWISE,
    pairwise_labels,
)
from tests.nano.train.heads.samples import judge, sample  # noqa: E402


def figure(x: float, y: float, side: float = 10) -> Mark:
    half = side / 2
    return Mark("red star", (x - half, y - half, x + half, y + half))


def labels_of(*mentions: Mention) -> list[dict[str, int]]:
    marks = {mark for each in mentions for mark in each.figures}
    found = pairwise_labels(
        [sample([], mentions=[]), sample([*marks], mentions=mentions)]
    )
    return [dict(zip(COLUMNS, row, strict=True)) for row in found.tolist()]


def test_the_second_of_two_is_compared_with_the_first() -> None:
    first, second = figure(20, 100), figure(60, 30)
    far, big = figure(100, 30, 50), figure(20, 30, 60)
    both = (far, big)  # in the same row, of different columns and sizes
    assert labels_of(
        Mention(1, 5, (first,)),
        Mention(1, 9, (second,)),
        Mention(2, 15, (second,)),
        Mention(2, 19, (far,)),
        Mention(3, 25, both),
        Mention(3, 29, (second,)),
    ) == [
        {"further_right": 1, "lower": 0, "bigger": IGNORED},  # of the same size
        {"further_right": 1, "lower": IGNORED, "bigger": 1},  # in the same row
        {"further_right": IGNORED, "lower": IGNORED, "bigger": IGNORED},
    ]
    assert labels_of(Mention(1, 5, (far,)), Mention(1, 9, (first,))) == [
        {"further_right": 0, "lower": 1, "bigger": 0}
    ]


def test_mentions_of_two_questions_are_no_pair() -> None:
    assert labels_of(Mention(1, 5, (figure(9, 9),)), Mention(2, 9, ())) == []


def test_every_comparison_is_learned() -> None:
    labels = torch.tensor([[1, 0, IGNORED], [IGNORED] * 3])
    loss, right = judge(PAIRWISE, torch.zeros(2, sum(COLUMNS.values())), labels)
    assert loss.item() == pytest.approx(2 * float(torch.tensor(2.0).log()))
    assert (right["further_right"], right["lower"]) == (0.0, 1.0)  # argmax of zeros: 0


def test_no_pairs_are_no_loss() -> None:
    labels = pairwise_labels([])
    assert labels.shape == (0, len(COLUMNS))
    loss, _ = judge(PAIRWISE, torch.zeros(0, sum(COLUMNS.values())), labels)
    assert loss.item() == 0.0
