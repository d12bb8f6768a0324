"""A measured figure beside the paper's, and why the two may differ."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .paper import CARD, PAPER, PaperRow
from .task import Judging, Task

_TRAINED = "pad"
"""How LLaVA's evaluation, and so the paper's, makes images square."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Under what a figure was measured."""

    resolution: tuple[int, int] | None  # (H, W) in pixels; None is each image's own
    split: str  # as the data's files are called
    whole: bool = True  # every question of the split was asked
    bits: int | None = None  # of the stored weights; None is not quantized
    image_mode: str = _TRAINED
    settings: tuple[str, ...] = ()  # "keep_aspect", "anyres"


def beside_paper(
    task: Task, figure: float, row: PaperRow | None, here: Conditions
) -> dict[str, Any] | None:
    """The paper's figure for this checkpoint and task, if it has one.

    A difference is told only where resolution and questions are the paper's.

    Args:
        figure: percent.
    """
    if row is None or task.name not in {**row.scores, **row.card}:
        return None
    reported, card = row.scores.get(task.name), row.card.get(task.name)
    obstacles = list(_obstacles(task, row, here))
    difference = None
    if reported is not None and not obstacles:
        difference = round(figure - reported, 2)
    return {
        "source": PAPER,
        "row": row.row,
        "score": reported,
        "difference": difference,
        "model_card": None if card is None else {"source": CARD, "score": card},
        "notes": [*obstacles, *_remarks(task, here)],
    }


def _obstacles(task: Task, row: PaperRow, here: Conditions) -> Iterator[str]:
    """What makes the two figures answers to different questions."""
    if here.resolution != (row.resolution, row.resolution):
        measured = "each image's own resolution"
        if here.resolution is not None:
            measured = "{}x{}".format(*here.resolution)
        yield f"reported at {row.resolution}, measured at {measured}"
    for setting in here.settings:
        yield f"measured with {setting}"
    if here.split != task.split:
        yield f"usually reported on {task.split}, measured on {here.split}"
    if not here.whole:
        yield "measured on the first questions only"


def _remarks(task: Task, here: Conditions) -> Iterator[str]:
    """What else is not as in the paper, or not known of it."""
    if here.bits is not None:
        yield f"measured with weights of {here.bits} bits"
    if here.image_mode != _TRAINED:
        yield f"measured with image mode {here.image_mode}"
    if task.judging is Judging.YES_OR_NO:
        yield "the paper does not name its figure; LLaVA's is F1"
