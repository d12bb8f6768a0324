"""Samples of marks alone, and a head's loss of given scores."""

from collections.abc import Sequence
from typing import Any

from PIL import Image

from benchmarks.nano.data.conversations import Mention
from benchmarks.nano.data.square import square
from benchmarks.nano.data.tasks.scene import Mark, Scene
from benchmarks.nano.train.heads.auxiliary import AuxiliaryTask, Measures, Sample


def mark(label: str, x: float, y: float) -> Mark:
    """A mark of 8 x 8 pixels about a middle."""
    return Mark(label, (x - 4, y - 4, x + 4, y + 4))


def sample(
    marks: Sequence[Mark],
    size: tuple[int, int] = (128, 128),
    resolution: int = 128,
    mentions: Sequence[Mention] = (),
) -> Sample:
    """An empty image with marks."""
    image = Image.new("RGB", size)
    scene = Scene(image, (), tuple(marks))
    return Sample(scene, square(image, resolution), mentions)


def judge(task: AuxiliaryTask, scores: Any, labels: Any) -> tuple[Any, Measures]:
    """The task's loss if its head said `scores`."""
    return task.loss(lambda hidden: hidden, scores, labels)
