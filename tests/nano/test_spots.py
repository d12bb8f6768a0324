"""Where a name's figures are: the places of the square, and the loss of them."""

import math

import pytest

torch = pytest.importorskip("torch")

from benchmarks.nano.spots import RARE, SIDE, SPOTS, Spots, spot, spot_loss  # noqa: E402


def test_the_places_go_row_by_row() -> None:
    assert spot(0.0, 0.0) == 0
    assert spot(0.99, 0.0) == SIDE - 1
    assert spot(0.0, 0.99) == SPOTS - SIDE
    assert spot(0.5, 0.25) == SIDE * SIDE // 4 + SIDE // 2


def test_a_head_begins_by_marking_nothing() -> None:
    head = Spots(8)
    assert head.bias.tolist() == [RARE] * SPOTS
    assert head(torch.zeros(3, 8)).shape == (3, SPOTS)


def test_a_name_is_right_without_a_mistake() -> None:
    marked = torch.zeros(3, SPOTS, dtype=torch.bool)
    marked[0, [4, 9]], marked[1, 5] = True, True
    scores = torch.where(marked, 50.0, -50.0)
    loss, right = spot_loss(scores, marked)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert right == 1.0
    scores[0, 7] = 50.0  # One place too many.
    loss, right = spot_loss(scores, marked)
    assert loss.item() == pytest.approx(50 / 3)
    assert right == 0.5  # Of the names that are of any figure.


def test_no_names_are_no_loss() -> None:
    loss, right = spot_loss(torch.zeros(0, SPOTS), torch.zeros(0, SPOTS).bool())
    assert loss.item() == 0.0
    assert math.isnan(right)
