"""How many figures of each colour and shape the image has shown up to a visual token.

"How many circles are there?" was right three times in five when nearly every figure was
named rightly: one number per question is little to learn counting from. Numbers for the
whole image alone left two in five above four wrong; running numbers are steps to it.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...data.square import IGNORED
from ...data.tasks.figures import OBJECTS, SHAPES
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

COUNTED = ("figure", *NAMED, *SHAPES)
MOST = 6  # sheets, which show more figures, are not counted


def counting_labels(sample: Sample) -> Tensor:
    """Count the figures up to each visual token, row by row.

    Returns:
        int64 (N, COUNTED), the last row for the whole image; all IGNORED unless the
        image shows one to MOST figures and nothing else.
    """
    marks, image = sample.scene.marks, sample.image
    if not 1 <= len(marks) <= MOST or any(m.label not in OBJECTS for m in marks):
        return torch.full((image.tokens, len(COUNTED)), IGNORED)
    counts = torch.zeros(image.tokens, len(COUNTED), dtype=torch.int64)
    for mark in marks:
        kinds = [COUNTED.index(word) for word in ("figure", *mark.label.split())]
        counts[image.token(mark.middle), kinds] += 1
    return counts.cumsum(0)


def loss(head: nn.Module, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Measures]:
    """The loss of (P, N, COUNTED); the share of right numbers for whole images.

    Kinds that are shown and kinds that are absent weigh alike, since nearly all are
    absent; so do the last visual tokens and all of them.
    """
    logits = head(hidden).unflatten(-1, (-1, MOST + 1))  # (P, N, COUNTED, MOST + 1)
    losses = cross_entropy(
        logits.float().movedim(-1, 1), labels, reduction="none", ignore_index=IGNORED
    )
    parts = [
        mean_or_zero(losses[:, first:][part])
        for first in (0, -1)
        for part in (labels[:, first:] > 0, labels[:, first:] == 0)
    ]
    shown = labels[:, -1] > 0
    right = logits[:, -1].argmax(-1) == labels[:, -1]
    return torch.stack(parts).sum(), {"right": share(right[shown])}


COUNTING = AuxiliaryTask(
    "counting",
    per_image(counting_labels),
    lambda preset: nn.Linear(preset.hidden, len(COUNTED) * (MOST + 1)),
    loss,
    ReadAt.HALF,
)
