"""How many figures have been shown up to each visual token."""

import math

import pytest

torch = pytest.importorskip("torch")

from benchmarks.nano.data.square import IGNORED  # noqa: E402
from benchmarks.nano.train.heads.counting import (  # noqa: E402
    COUNTED,
    COUNTING,
    MOST,
    counting_labels,
)
from tests.nano.train.heads.samples import judge, mark, sample  # noqa: E402


def test_figures_are_counted_up_to_each_visual_token() -> None:
    marks = [mark("red star", 9, 99), mark("blue star", 99, 9), mark("red star", 99, 9)]
    found = [
        {kind: number for kind, number in zip(COUNTED, row, strict=True) if number}
        for row in counting_labels(sample(marks)).tolist()  # two rows of two tokens
    ]
    above = {"figure": 2, "red": 1, "blue": 1, "star": 2}
    all_of_them = {"figure": 3, "red": 2, "blue": 1, "star": 3}
    assert found == [{}, above, all_of_them, all_of_them]


@pytest.mark.parametrize(
    "labels", [[], ["a"], ["red star", "bar"], ["red star"] * (MOST + 1)]
)
def test_what_is_not_counted(labels: list[str]) -> None:
    found = counting_labels(sample([mark(each, 9, 9) for each in labels]))
    assert found.shape == (4, len(COUNTED))
    assert set(found.flatten().tolist()) == {IGNORED}


def test_what_is_shown_and_what_is_absent_weigh_the_same() -> None:
    """So do the last visual tokens and all of them."""
    labels = torch.zeros(2, 4, len(COUNTED), dtype=torch.int64)
    labels[0, -1, :3], labels[1] = 2, IGNORED
    even = torch.zeros(2, 4, len(COUNTED), MOST + 1)
    loss, measures = judge(COUNTING, even.flatten(2), labels)
    assert loss.item() == pytest.approx(4 * math.log(MOST + 1), rel=1e-5)
    assert measures["right"] == 0.0
    even[0, -1, :2, 2] = 1.0
    _, measures = judge(COUNTING, even.flatten(2), labels)
    assert measures["right"] == pytest.approx(2 / 3)
    loss, measures = judge(COUNTING, even.flatten(2), torch.full_like(labels, IGNORED))
    assert (loss.item(), math.isnan(measures["right"])) == (0.0, True)
