"""The row and column of a visual token."""

import pytest

torch = pytest.importorskip("torch")

from benchmarks.nano.train.heads.position import (  # noqa: E402
    PARTS,
    POSITION,
    positions,
)
from tests.nano.train.heads.samples import sample  # noqa: E402


def test_rows_and_columns_are_parts_of_the_square() -> None:
    """Of 16 tokens a side two share a row of eight; of two each stands for four."""
    rows = positions(16)[:, 0].view(16, 16)
    assert rows[:, 0].tolist() == [row // 2 for row in range(16)]
    assert positions(2).tolist() == [[2, 2], [2, 6], [6, 2], [6, 6]]


def test_every_image_of_a_batch_is_labelled() -> None:
    found = POSITION.labels([sample([]), sample([])])
    assert found.tolist() == [positions(2).tolist()] * 2


def test_positions_are_learned_from_features_that_hold_them() -> None:
    torch.manual_seed(0)
    labels = positions(8)[None]  # (1, 64, 2)
    head = torch.nn.Linear(2, 2 * PARTS)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    losses = []
    for _ in range(60):
        loss, measures = POSITION.loss(head, labels.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert measures["right"] > 0.5
