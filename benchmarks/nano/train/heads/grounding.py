"""What an object mention refers to: how many figures, which, and where.

"Where is the red circle?" was right nine times in ten with one figure, six times with
several, although every visual token's object was known: the decoder did not find the
token. It predicts the mention's figures at half of its layers, so that two mentions can
be compared (`pairwise`), and again at three quarters.
"""

from torch import Tensor, nn

from ...data.conversations import Mention
from ...data.square import IGNORED
from ...data.tasks.scene import Mark
from ..options import Preset
from .auxiliary import (
    AuxiliaryTask,
    Measures,
    ReadAt,
    Sample,
    columns_loss,
    per_mention,
)
from .counting import MOST
from .object import COLUMNS as OBJECT_COLUMNS
from .object import describe

GRID = 16  # columns and rows of the square
COLUMNS = {"number": MOST + 1, **OBJECT_COLUMNS, "column": GRID, "row": GRID}


def mention_labels(sample: Sample, mention: Mention) -> list[int]:
    """A label per column: the figures' number, then what is the same for all."""
    meant = [figure_labels(mark, sample) for mark in mention.figures]
    values = [set(each) for each in zip(*meant, strict=True)]
    same = [each.pop() if len(each) == 1 else IGNORED for each in values]
    return [min(len(meant), MOST), *(same or [IGNORED] * (len(COLUMNS) - 1))]


def figure_labels(mark: Mark, sample: Sample) -> tuple[int, ...]:
    """Name, ninth, size, column and row of one figure."""
    column, row = grid_position(mark, sample)
    return *describe(mark, sample.scene.image.size), column, row


def grid_position(mark: Mark, sample: Sample) -> tuple[int, int]:
    """Column and row, of GRID, of a figure's middle in the square."""
    x, y = (
        min(int(GRID * at / sample.image.resolution), GRID - 1)
        for at in sample.image.point(mark.middle)
    )
    return x, y


def loss(head: nn.Module, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Measures]:
    """The loss of (K, COLUMNS), and the share of each column that is right."""
    return columns_loss(head(hidden), labels, COLUMNS)


def _task(name: str, read_at: ReadAt) -> AuxiliaryTask:
    def head(preset: Preset) -> nn.Module:
        return nn.Linear(preset.hidden, sum(COLUMNS.values()))

    return AuxiliaryTask(name, _LABELS, head, loss, read_at)


_LABELS = per_mention(mention_labels, len(COLUMNS))

EARLY_GROUNDING = _task("early_grounding", ReadAt.HALF_MENTIONS)
GROUNDING = _task("grounding", ReadAt.LATE_MENTIONS)
