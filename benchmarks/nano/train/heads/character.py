"""The characters at a visual token, in order, and their place in the text.

To spell a word the decoder has to go through the visual tokens in the order of the
text, and through the characters of each. Before the tower learned their order too, it
named the first character of two thirds of the tokens, the second of one third.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...data.square import CHARACTERS, EMPTY, IGNORED, LABELS
from .auxiliary import (
    AuxiliaryTask,
    Measures,
    ReadAt,
    Sample,
    balanced,
    mean_or_zero,
    per_image,
    share,
)

LONGEST = 24  # characters; longer texts are not labelled
SPELLED = 4  # characters labelled at one visual token
LETTERS = 1 + len(CHARACTERS)  # their labels, and EMPTY after the last


def character_labels(sample: Sample) -> Tensor:
    """int64 (N, 1 + SPELLED): the first character's index in the text, then `LABELS`.

    The index is IGNORED without a character, everything unless all marks are a text.
    """
    marks, image = sample.scene.marks, sample.image
    labels = torch.full((image.tokens, 1 + SPELLED), IGNORED)
    is_text = all(mark.label in CHARACTERS for mark in marks)
    if not 1 <= len(marks) <= LONGEST or not is_text:
        return labels
    labels[:, 1:] = EMPTY
    tokens = [image.token(mark.middle) for mark in marks]
    for token in set(tokens):
        first = last = tokens.index(token)
        while last < len(marks) and tokens[last] == token:
            last += 1
        letters = [LABELS[mark.label] for mark in marks[first:last]]
        letters = [*letters, *[EMPTY] * SPELLED][:SPELLED]
        labels[token] = torch.tensor([first, *letters])
    return labels


def characters_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of (P, N, SPELLED, LETTERS), the many empty places apart."""
    known = labels[..., 1] != IGNORED
    wanted = labels[known][:, 1:].flatten()
    losses = cross_entropy(
        logits[known].flatten(0, 1).float(), wanted, reduction="none"
    )
    filled = wanted != EMPTY
    return balanced(losses, filled, ~filled)


def tower_loss(
    head: nn.Module, tokens: Tensor, labels: Tensor
) -> tuple[Tensor, Measures]:
    """The loss of the characters without their index."""
    return characters_loss(head(tokens).unflatten(-1, (SPELLED, LETTERS)), labels), {}


def decoder_loss(
    head: nn.Module, hidden: Tensor, labels: Tensor
) -> tuple[Tensor, Measures]:
    """The loss of index and characters; the share of tokens with all of them right."""
    known = labels[..., 0] != IGNORED
    indices, letters = head(hidden).tensor_split([LONGEST], dim=-1)
    letters = letters.unflatten(-1, (SPELLED, LETTERS))
    wanted, indices = labels[known], indices[known].float()  # (K, 1 + SPELLED)
    indexed = cross_entropy(indices, wanted[:, 0], reduction="none")
    right = (letters[known].argmax(-1) == wanted[:, 1:]).all(dim=-1)
    right &= indices.argmax(-1) == wanted[:, 0]
    loss = mean_or_zero(indexed) + characters_loss(letters, labels)
    return loss, {"right": share(right)}


_LABELS = per_image(character_labels)

TOWER_CHARACTER = AuxiliaryTask(
    "tower_character",
    _LABELS,
    lambda preset: nn.Linear(preset.vision_width, SPELLED * LETTERS),
    tower_loss,
    ReadAt.TOWER,
)
CHARACTER = AuxiliaryTask(
    "character",
    _LABELS,
    lambda preset: nn.Linear(preset.hidden, LONGEST + SPELLED * LETTERS),
    decoder_loss,
    ReadAt.HALF,
)
