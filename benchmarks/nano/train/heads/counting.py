"""How many figures of each colour and shape the image has shown up to a visual token.

"How many circles are there?" was right three times in five when nearly every figure was
named rightly. With only whole images counted here, as many numbers above four were.
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
    """int64 (N, COUNTED), the last for the whole image.

    All IGNORED unless the image shows one to MOST figures and nothing else.
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
    """The loss of (P, N, COUNTED); the share of right numbers of whole images.

    The few kinds that are shown weigh as much as those that are absent, and the last
    visual tokens as much as all.
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
