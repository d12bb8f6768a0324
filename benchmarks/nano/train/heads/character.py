"""Which characters stand at a visual token, and the how manyeth of the text they are.

To spell a word the decoder has to go through its visual tokens in the order of the
text, and through the characters of each. So at each of them it learns to say which
character of the text is the first there, and the next ones. To put the characters of a
token in order is hard for a decoder that finds them by their places in it: it named the
first of two thirds of the tokens, the second of one third. The tower can put them in
order, and is told it as well. Used in training only.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.nano.labels import CHARACTERS, EMPTY, LABELS
from benchmarks.nano.means import mean_or_zero
from benchmarks.nano.prompt import IGNORED
from benchmarks.nano.square import Square
from benchmarks.nano.tasks.scene import Mark

LONGEST = 24  # Characters; longer texts are not numbered.
SPELLED = 4  # Characters that are told at one visual token.
LETTERS = 1 + len(CHARACTERS)  # Their labels, and `EMPTY` where there are no more.


class Characters(nn.Linear):
    """Scores the first characters at a visual token.

    Args:
        width: of the tower's features, C.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, SPELLED * LETTERS)

    def forward(self, features: Tensor) -> Tensor:
        """(P, C, h, w) -> logits (P, N, SPELLED, LETTERS)."""
        logits: Tensor = super().forward(features.flatten(2).mT)  # (P, N, ...)
        ordered: Tensor = logits.unflatten(-1, (SPELLED, LETTERS))
        return ordered


class Spelling(nn.Linear):
    """Scores the number of the first character at a visual token, and characters.

    Args:
        width: of the decoder, D.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, LONGEST + SPELLED * LETTERS)


def spelling_labels(marks: Sequence[Mark], made: Square) -> Tensor:
    """Label the visual tokens of one picture.

    Args:
        marks: what is where; characters in the order of the text.
        made: the square that the picture became.

    Returns:
        int64 (N, 1 + SPELLED): a number from 0, then `LABELS` of characters. Where
        no character stands the number is `IGNORED`; everywhere all is, unless a text is
        all that the picture shows.
    """
    labels = torch.full((made.tokens, 1 + SPELLED), IGNORED)
    is_text = all(mark.label in CHARACTERS for mark in marks)
    if not 1 <= len(marks) <= LONGEST or not is_text:
        return labels
    labels[:, 1:] = EMPTY
    tokens = [made.token(mark.middle) for mark in marks]
    for token in set(tokens):
        first = last = tokens.index(token)
        while last < len(marks) and tokens[last] == token:
            last += 1
        letters = [LABELS[mark.label] for mark in marks[first:last]]
        letters = [*letters, *[EMPTY] * SPELLED][:SPELLED]
        labels[token] = torch.tensor([first, *letters])
    return labels


def characters_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of characters and of places without, each a mean.

    Most tokens have none, the others mostly one or two; in one mean the further ones
    would go unlearned.

    Args:
        logits: float (P, N, SPELLED, LETTERS).
        labels: int64 (P, N, 1 + SPELLED), of `spelling_labels`.
    """
    told = labels[..., 1] != IGNORED
    wanted = labels[told][:, 1:].flatten()
    losses = cross_entropy(logits[told].flatten(0, 1).float(), wanted, reduction="none")
    filled = wanted != EMPTY
    parts = [mean_or_zero(losses[each]) for each in (filled, ~filled)]
    return torch.stack(parts).sum()


def spelling_loss(scores: Tensor, labels: Tensor) -> tuple[Tensor, float]:
    """Return the cross-entropies' sum, and the share of tokens spelled wholly right.

    Args:
        scores: float (P, N, LONGEST + SPELLED * LETTERS), of `Spelling`.
        labels: int64 (P, N, 1 + SPELLED), of `spelling_labels`.
    """
    told = labels[..., 0] != IGNORED
    numbers, letters = scores.tensor_split([LONGEST], dim=-1)
    letters = letters.unflatten(-1, (SPELLED, LETTERS))
    wanted, numbers = labels[told], numbers[told].float()  # (K, 1 + SPELLED)
    numbered = cross_entropy(numbers, wanted[:, 0], reduction="none")
    right = (letters[told].argmax(-1) == wanted[:, 1:]).all(dim=-1)
    right &= numbers.argmax(-1) == wanted[:, 0]
    loss = mean_or_zero(numbered) + characters_loss(letters, labels)
    return loss, right.float().mean().item()
