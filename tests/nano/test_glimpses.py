"""What is said at visual tokens: the first filled cell of each, as a token."""

import pytest

torch = pytest.importorskip("torch")

from tokenizers import Tokenizer  # noqa: E402

from benchmarks.nano.glimpses import glimpses, token_of_labels  # noqa: E402
from benchmarks.nano.labels import LABEL_COUNT, LABELS, UNTOLD  # noqa: E402
from benchmarks.nano.prompt import IGNORED  # noqa: E402
from benchmarks.nano.tokenizer import train_tokenizer  # noqa: E402


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
    cells[0, 5, 12], cells[0, 4, 13] = 5, UNTOLD
    found = glimpses(cells, token_of)
    assert found.tolist() == [[1008, IGNORED, IGNORED, IGNORED]]
    cells[0, 4, 13] = 0
    assert glimpses(cells, token_of)[0, 3] == 1005
