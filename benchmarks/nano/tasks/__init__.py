"""Pictures and questions made on the fly: `draw` is all that training needs."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from benchmarks.nano.tasks.charts import draw_chart
from benchmarks.nano.tasks.holdout import Split
from benchmarks.nano.tasks.receipts import draw_receipt
from benchmarks.nano.tasks.scene import Ask, Scene
from benchmarks.nano.tasks.screens import draw_screen
from benchmarks.nano.tasks.shapes import draw_shapes
from benchmarks.nano.tasks.text import draw_text

Task = Callable[[Random, Split], Scene]

CAPTIONS = "captions"
DESCRIBED = 0.12  # Share of the other tasks' pictures that are also to be described.

PICTURES: dict[str, Task] = {
    "shapes": draw_shapes,
    "text": draw_text,
    "charts": draw_chart,
    "receipts": draw_receipt,
    "screens": draw_screen,
}
"""What draws a picture with questions, among them a request to describe it."""

CAPTIONED = {"shapes": 5, "text": 2, "charts": 1, "receipts": 1, "screens": 1}
"""How often the captions task takes the picture of another task."""


def draw(task: str, split: Split, seed: int, index: int) -> Scene:
    """Draw one scene: the same arguments give the same scene, in any process.

    Args:
        task: one of `TASKS`.
        split: "train", or "test" with what training never draws.
        seed: of the run.
        index: of the scene; any number of them can be drawn in any order.

    Raises:
        KeyError: there is no such task.
    """
    return TASKS[task](Random(f"{task}/{split}/{seed}/{index}"), split)


def draw_captions(random: Random, split: Split) -> Scene:
    """Draw a picture of any other task that is only to be described."""
    while True:
        task = random.choices(tuple(CAPTIONED), tuple(CAPTIONED.values()))[0]
        scene = PICTURES[task](random, split)
        captions = tuple(one for one in scene.questions if _describes(one))
        if captions:
            return replace(scene, questions=captions)


def _questions_of(task: Task) -> Task:
    """Return the task with most requests for a description left to the captions."""

    def drawn(random: Random, split: Split) -> Scene:
        scene = task(random, split)
        asked = tuple(one for one in scene.questions if not _describes(one))
        if not asked or random.random() < DESCRIBED:
            return scene
        return replace(scene, questions=asked)

    return drawn


def _describes(question: Ask) -> bool:
    return question.kind.startswith(CAPTIONS)


TASKS: dict[str, Task] = {
    **{name: _questions_of(task) for name, task in PICTURES.items()},
    CAPTIONS: draw_captions,
}

MIX: dict[str, float] = {
    "shapes": 0.24,
    "text": 0.38,
    "charts": 0.12,
    "receipts": 0.09,
    "screens": 0.09,
    "captions": 0.08,
}
"""Share of each task in training."""
