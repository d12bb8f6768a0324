"""How the second figure that a question names stands to the first."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")

from benchmarks.nano.prompt import IGNORED  # noqa: E402
from benchmarks.nano.references import TOLD as REFERENCE  # noqa: E402
from benchmarks.nano.references import References  # noqa: E402
from benchmarks.nano.relations import (  # noqa: E402
    TOLD,
    relation_labels,
    relation_loss,
)
from benchmarks.nano.spots import SPOTS  # noqa: E402


def name(column: int, row: int, size: int) -> list[int]:
    """Return the labels of a name by where its figure is and how large."""
    told = {"column": column, "row": row, "sizes": size}
    return [told.get(each, 1) for each in REFERENCE]


def test_the_second_of_two_is_compared_with_the_first() -> None:
    names = [name(2, 9, 4), name(5, 3, 4), name(0, 0, 0), name(IGNORED, 3, 9)]
    found = References(
        places=torch.zeros(2, 4, dtype=torch.int64),
        labels=torch.tensor(names),
        spots=torch.zeros(4, SPOTS, dtype=torch.bool),
        pairs=torch.tensor([[0, 1], [1, 3]]),
    )
    told = [
        dict(zip(TOLD, row, strict=True)) for row in relation_labels(found).tolist()
    ]
    assert told == [
        {"further_right": 1, "lower": 0, "bigger": IGNORED},
        {"further_right": IGNORED, "lower": IGNORED, "bigger": 1},
    ]


def test_every_relation_is_learned() -> None:
    labels = torch.tensor([[1, 0, IGNORED], [IGNORED] * 3])
    loss, right = relation_loss(torch.zeros(2, sum(TOLD.values())), labels)
    assert loss.item() == pytest.approx(2 * float(torch.tensor(2.0).log()))
    assert (right["further_right"], right["lower"]) == (0.0, 1.0)  # argmax of zeros: 0


def test_no_pairs_are_no_loss() -> None:
    none = References(
        places=torch.zeros(2, 0, dtype=torch.int64),
        labels=torch.zeros(0, len(REFERENCE), dtype=torch.int64),
        spots=torch.zeros(0, SPOTS, dtype=torch.bool),
        pairs=torch.zeros(2, 0, dtype=torch.int64),
    )
    labels = relation_labels(none)
    assert labels.shape == (0, len(TOLD))
    loss, _ = relation_loss(torch.zeros(0, sum(TOLD.values())), labels)
    assert loss.item() == 0.0
