"""Names of cells, and the first object of each visual token."""

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tokenizers import Tokenizer  # noqa: E402

from benchmarks.nano.data.square import (  # noqa: E402
    EMPTY,
    IGNORED,
    LABEL_COUNT,
    LABELS,
)
from benchmarks.nano.data.tokenizer import train_tokenizer  # noqa: E402
from benchmarks.nano.train.heads.dense_label import (  # noqa: E402
    CELL_FEATURES,
    Cells,
    DenseLabelHead,
    cell_loss,
    cells_to_name,
    first_objects,
    right_marks,
    token_of_labels,
)
from benchmarks.nano.train.options import PRESETS  # noqa: E402


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["is there a red circle?", "yes", "no"] * 50, 320)


def test_labels_are_named_by_one_token_each(tokenizer: Tokenizer) -> None:
    token_of = token_of_labels(tokenizer)
    assert token_of.shape == (LABEL_COUNT,)
    assert tokenizer.decode([int(token_of[LABELS["a"]])]) == "a"
    assert tokenizer.decode([int(token_of[LABELS["red circle"]])]) == " red"
    assert token_of[LABELS["purple star"]] == IGNORED  # spelled in several tokens


def test_the_first_cell_of_each_visual_token() -> None:
    token_of = torch.arange(LABEL_COUNT) + 1000
    token_of[0] = IGNORED
    cells = torch.zeros(1, 8, 16, dtype=torch.int64)  # 2 x 2 visual tokens
    cells[0, 1, 3], cells[0, 0, 5], cells[0, 2, 0] = 7, 8, 9
    cells[0, 5, 12], cells[0, 4, 13] = 5, IGNORED
    found = first_objects(cells, token_of)
    assert found.tolist() == [[1008, IGNORED, IGNORED, IGNORED]]
    cells[0, 4, 13] = 0
    assert first_objects(cells, token_of)[0, 3] == 1005


def test_the_order_of_the_cells() -> None:
    """Cell (r, c) of place (y, x) is row 4 y + r, column 8 x + c of the image."""
    cells = Cells(2, 64)
    features = torch.arange(2.0 * 3 * 5).view(1, 2, 3, 5)
    found = cells(features)
    assert found.shape == (1, 12, 40, CELL_FEATURES)
    place = cells.divide(features[0, :, 2, 3]).view(4, 8, CELL_FEATURES)
    torch.testing.assert_close(found[0, 8:12, 24:32], place)


def test_ambiguous_cells_are_not_named() -> None:
    labels = torch.full((2, 4, 8), EMPTY)
    labels[0, 0, 1], labels[1, 2, 3], labels[1, 2, 4] = IGNORED, 5, LABEL_COUNT - 1
    found = labels.flatten()[cells_to_name(labels)].tolist()
    assert found[:2] == [5, LABEL_COUNT - 1]
    assert found[2:] == [EMPTY] * 8  # 61 are empty


def test_marks_and_empty_cells_weigh_the_same() -> None:
    labels = torch.tensor([5, 6, 7, EMPTY])
    uniform = torch.tensor(float(LABEL_COUNT)).log().item()
    loss = cell_loss(torch.zeros(4, LABEL_COUNT), labels)
    assert loss.item() == pytest.approx(2 * uniform, rel=1e-5)


def test_a_head_begins_at_the_frequencies_of_the_labels() -> None:
    head = DenseLabelHead(PRESETS["cpu"])
    at_rest = head.name(torch.zeros(CELL_FEATURES)).detach().softmax(-1)
    assert at_rest[EMPTY].item() == pytest.approx(0.5, abs=0.05)


def test_right_marks_are_those_that_the_visual_tokens_name() -> None:
    labels = torch.full((1, 4, 8), EMPTY)
    labels[0, 0, 1], labels[0, 3, 2], labels[0, 1, 1] = 5, 9, IGNORED

    def named(stages: Any, chosen: Any) -> dict[str, Any]:
        said = torch.eye(LABEL_COUNT)[torch.full_like(chosen, 5)]
        return {"16": said.roll(1), "64": said}

    assert right_marks(named, [], labels).tolist() == [True, False]
