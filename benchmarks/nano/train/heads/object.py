"""The figure at a visual token: its name, the ninth of the image it is in, its size.

"Top left" refers to the image as drawn, between black bars. After 1 500 steps the head
knew the ninth of 94 figures in 100; from questions about places alone it was 40.
Counting needs to know the tokens without a figure too.
"""

import math

import torch
from torch import Tensor, nn

from ...data.square import IGNORED
from ...data.tasks.canvas import NINTHS, Size, ninth
from ...data.tasks.figures import OBJECTS
from ...data.tasks.scene import Mark
from .auxiliary import (
    AuxiliaryTask,
    Measures,
    ReadAt,
    Sample,
    judged_columns,
    mean_or_zero,
    per_image,
    share,
)

SMALLEST = 0.08  # of the image's longer side; each octave above has STEPS sizes
STEPS, SIZES = 4, 14
NOTHING = len(OBJECTS)  # the name where no figure has its middle
COLUMNS = {"name": 1 + len(OBJECTS), "ninth": len(NINTHS), "size": SIZES}


def object_labels(sample: Sample) -> Tensor:
    """int64 (N, COLUMNS), IGNORED where two figures of a token differ.

    The name is NOTHING where no figure has its middle, if the image shows any.
    """
    image, size = sample.image, sample.scene.image.size
    labels = torch.full((image.tokens, len(COLUMNS)), IGNORED)
    figures = [mark for mark in sample.scene.marks if mark.label in OBJECTS]
    seen: set[int] = set()
    for mark in figures:
        token, known = image.token(mark.middle), torch.tensor(describe(mark, size))
        differs = (labels[token] != known) & (token in seen)
        labels[token] = known.masked_fill(differs, IGNORED)
        seen.add(token)
    if figures:
        without = [token for token in range(image.tokens) if token not in seen]
        labels[without, 0] = NOTHING
    return labels


def describe(mark: Mark, size: Size) -> tuple[int, ...]:
    """Name, ninth (IGNORED near a border) and size of a figure in a drawn image."""
    name = ninth(mark.middle, size)
    place = IGNORED if name is None else NINTHS.index(name)
    return OBJECTS.index(mark.label), place, _size(mark, size)


def _size(mark: Mark, size: Size) -> int:
    left, top, right, bottom = mark.box
    part = math.sqrt(max(right - left, 1) * max(bottom - top, 1)) / max(size)
    return min(max(int(STEPS * math.log2(part / SMALLEST)), 0), SIZES - 1)


def loss(head: nn.Module, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Measures]:
    """The loss of (P, N, COLUMNS), figures and NOTHING alike; shares of figures."""
    losses, shares = [], {}
    for name, known, each, right in judged_columns(head(hidden), labels, COLUMNS):
        shown = labels[known][:, 0] != NOTHING
        losses += [mean_or_zero(each[shown]), mean_or_zero(each[~shown])]
        shares[name] = share(right[shown])
    return torch.stack(losses).sum(), shares


OBJECT = AuxiliaryTask(
    "object",
    per_image(object_labels),
    lambda preset: nn.Linear(preset.hidden, sum(COLUMNS.values())),
    loss,
    ReadAt.HALF,
)
