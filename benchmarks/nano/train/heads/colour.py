"""The colour of the characters at a visual token.

Reading does not need it: after 25 000 steps "what color is the text?" was a guess.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...data.square import IGNORED
from ...data.tasks.palette import NAMED
from .auxiliary import (
    AuxiliaryTask,
    Measures,
    ReadAt,
    Sample,
    mean_or_zero,
    per_image,
    share,
)

COLOURS = tuple(NAMED)


def colour_labels(sample: Sample) -> Tensor:
    """int64 (N,), IGNORED where no character of a named colour has its middle."""
    labels = torch.full((sample.image.tokens,), IGNORED)
    for mark in sample.scene.marks:
        if mark.ink is not None:
            labels[sample.image.token(mark.middle)] = COLOURS.index(mark.ink)
    return labels


def loss(head: nn.Module, tokens: Tensor, labels: Tensor) -> tuple[Tensor, Measures]:
    """The mean cross-entropy of (P, N), and the share that is right."""
    logits, known = head(tokens), labels != IGNORED
    losses = cross_entropy(logits[known].float(), labels[known], reduction="none")
    right = logits[known].argmax(-1) == labels[known]
    return mean_or_zero(losses), {"right": share(right)}


_LABELS = per_image(colour_labels)

TOWER_COLOUR = AuxiliaryTask(
    "tower_colour",
    _LABELS,
    lambda preset: nn.Linear(preset.vision_width, len(COLOURS)),
    loss,
    ReadAt.TOWER,
)
COLOUR = AuxiliaryTask(
    "colour",
    _LABELS,
    lambda preset: nn.Linear(preset.hidden, len(COLOURS)),
    loss,
    ReadAt.HALF,
)
