"""A drawn image, the questions about it, and where each thing in it is."""

from dataclasses import dataclass, replace

from PIL import Image

Point = tuple[float, float]

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels of the image."""


@dataclass(frozen=True)
class Mark:
    """One thing shown in an image: a training label, never part of a question."""

    label: str  # one character of a text, or a figure's name ("red circle")
    box: Box  # the upright rectangle around it
    ink: str | None = None  # a character's colour, where it has a name

    @property
    def middle(self) -> Point:
        """The middle of its box."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    def shifted(self, x: float, y: float) -> "Mark":
        """The mark moved right by x and down by y pixels."""
        left, top, right, bottom = self.box
        return replace(self, box=(left + x, top + y, right + x, bottom + y))


@dataclass(frozen=True)
class Question:
    """One question with its only right answer.

    The kind is "task/what"; in the test split it ends with what training never drew,
    for example "text/word-unseen-font".
    """

    text: str
    answer: str
    kind: str


@dataclass(frozen=True)
class Scene:
    """One image (RGB) with its questions and marks."""

    image: Image.Image
    questions: tuple[Question, ...]
    marks: tuple[Mark, ...]
