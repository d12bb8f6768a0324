"""Images and questions drawn on the fly; `draw` is the entry point."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from .holdout import Split
from .scene import Question, Scene
from .shapes import draw_shapes
from .text import draw_text

Task = Callable[[Random, Split], Scene]

CAPTIONS = "captions"
DESCRIBED = 0.12  # share of the other tasks' images that also ask for a description

IMAGES: dict[str, Task] = {"shapes": draw_shapes, "text": draw_text}

# Even weights draw the shapes and texts of the shipped model's training; where that
# drew a chart, a receipt or a screen to describe, a text is drawn now.
CAPTIONED = {"shapes": 5, "text": 5}


def draw(task: str, split: Split, seed: int, index: int) -> Scene:
    """The scene of an index, the same in any process and order.

    Args:
        task: one of `TASKS`, else KeyError.
        split: "test" includes values that training never draws.
        seed: of the run.
        index: of the scene.
    """
    return TASKS[task](Random(f"{task}/{split}/{seed}/{index}"), split)


def draw_captions(random: Random, split: Split) -> Scene:
    """An image of any other task, with a request for a description only."""
    while True:
        task = random.choices(tuple(CAPTIONED), tuple(CAPTIONED.values()))[0]
        scene = IMAGES[task](random, split)
        captions = tuple(one for one in scene.questions if _describes(one))
        if captions:
            return replace(scene, questions=captions)


def _questions_of(task: Task) -> Task:
    """The task with most requests for a description left to the captions."""

    def drawn(random: Random, split: Split) -> Scene:
        scene = task(random, split)
        others = tuple(one for one in scene.questions if not _describes(one))
        if not others or random.random() < DESCRIBED:
            return scene
        return replace(scene, questions=others)

    return drawn


def _describes(question: Question) -> bool:
    return question.kind.startswith(CAPTIONS)


TASKS: dict[str, Task] = {
    **{name: _questions_of(task) for name, task in IMAGES.items()},
    CAPTIONS: draw_captions,
}
