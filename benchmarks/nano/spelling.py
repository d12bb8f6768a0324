"""Which characters stand at a visual token, and the how manyeth of the text they are.

To spell a word the decoder has to go through its visual tokens in the order of the
text, and through the characters of each. So at each of them it learns to say which
character of the text is the first there, and the next ones. Used in training only.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.nano.labels import CHARACTERS
from benchmarks.nano.prompt import IGNORED
from benchmarks.nano.square import Square
from benchmarks.nano.tasks.scene import Mark

LONGEST = 24  # Characters; longer texts are not numbered.
SPELLED = 4  # Characters that are told at one visual token.
LETTERS = ("", *CHARACTERS)  # "" where there are no more.


class Spelling(nn.Linear):
    """Scores the number of the first character at a visual token, and characters.

    Args:
        width: of the decoder, D.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, LONGEST + SPELLED * len(LETTERS))


def spelling_labels(marks: Sequence[Mark], made: Square) -> Tensor:
    """Label the visual tokens of one picture.

    Args:
        marks: what is where; characters in the order of the text.
        made: the square that the picture became.

    Returns:
        int64 (N, 1 + SPELLED): a number from 0, then places among `LETTERS`. `IGNORED`
        where no character stands, everywhere unless a text is all that is shown.
    """
    labels = torch.full((made.tokens, 1 + SPELLED), IGNORED)
    if len(marks) > LONGEST or any(mark.label not in CHARACTERS for mark in marks):
        return labels
    tokens = [made.token(mark.middle) for mark in marks]
    for token in set(tokens):
        first = last = tokens.index(token)
        while last < len(marks) and tokens[last] == token:
            last += 1
        letters = [LETTERS.index(mark.label) for mark in marks[first:last]]
        letters = [*letters, *[0] * SPELLED][:SPELLED]
        labels[token] = torch.tensor([first, *letters])
    return labels


def spelling_loss(scores: Tensor, labels: Tensor) -> tuple[Tensor, float]:
    """Return the cross-entropies' sum, and the share of tokens spelled wholly right.

    Args:
        scores: float (P, N, LONGEST + SPELLED * LETTERS), of `Spelling`.
        labels: int64 (P, N, 1 + SPELLED), of `spelling_labels`.
    """
    told = labels[..., 0] != IGNORED
    wanted = labels[told]  # (K, 1 + SPELLED)
    numbers, letters = scores[told].float().tensor_split([LONGEST], dim=-1)
    letters = letters.unflatten(-1, (SPELLED, -1))  # (K, SPELLED, LETTERS)
    count = max(1, len(wanted))
    losses = (
        cross_entropy(numbers, wanted[:, 0], reduction="sum") / count,
        cross_entropy(letters.flatten(0, 1), wanted[:, 1:].flatten(), reduction="sum")
        / (count * SPELLED),
    )
    right = (letters.argmax(-1) == wanted[:, 1:]).all(dim=-1)
    right &= numbers.argmax(-1) == wanted[:, 0]
    return torch.stack(losses).sum(), right.float().mean().item()
