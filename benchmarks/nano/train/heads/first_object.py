"""What the decoder is to say at each visual token: the first thing that is in it.

Answers alone tell the decoder late that its visual tokens mean anything. So at each of
them it learns to name the first character or color there, in its own tokens; what it
can name where it stands it can copy into an answer. Generation never reads what is said
there.
"""

import torch
from tokenizers import Tokenizer
from torch import Tensor

from benchmarks.nano.labels import (
    CELL_HEIGHT,
    CELL_WIDTH,
    CHARACTERS,
    EMPTY,
    LABEL_COUNT,
    LABELS,
    THINGS,
)
from benchmarks.nano.presets import STRIDE
from benchmarks.nano.prompt import IGNORED

ROWS, COLUMNS = STRIDE // CELL_HEIGHT, STRIDE // CELL_WIDTH  # Cells of a visual token.


def token_of_labels(tokenizer: Tokenizer) -> Tensor:
    """Return the token (LABEL_COUNT,) that names each label, `IGNORED` where none does.

    A character is named by itself, a figure by its color.
    """
    tokens = torch.full((LABEL_COUNT,), IGNORED)
    texts = {name: name for name in CHARACTERS}
    texts |= {name: f" {name.split()[0]}" for name in THINGS}
    for name, text in texts.items():
        ids = tokenizer.encode(text).ids
        if len(ids) == 1:
            tokens[LABELS[name]] = ids[0]
    return tokens


def glimpses(cells: Tensor, token_of: Tensor) -> Tensor:
    """Return the token of the first filled cell in each visual token.

    Args:
        cells: int64 (P, r, c), see `labels.cell_labels`.
        token_of: of `token_of_labels`.

    Returns:
        int64 (P, N), `IGNORED` where nothing is or it cannot be told.
    """
    parts = cells.unflatten(2, (-1, COLUMNS)).unflatten(1, (-1, ROWS))
    places = parts.transpose(2, 3).flatten(3).flatten(1, 2)  # (P, N, cells)
    first = (places != EMPTY).int().argmax(dim=-1, keepdim=True)
    label = places.gather(-1, first)[..., 0]
    return token_of[label.clamp(min=EMPTY)]  # EMPTY too where it cannot be told
