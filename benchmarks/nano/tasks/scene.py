"""What the tasks make: a picture, what may be asked about it, and what is where."""

from dataclasses import dataclass, replace

from PIL import Image

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels of the picture."""


@dataclass(frozen=True)
class Mark:
    """One thing that the picture shows; the vision tower learns from it, nobody asks.

    Attributes:
        label: one character of a text, or the thing's name ("red circle", "bar").
        box: the upright rectangle around it, in pixels of the picture.
        ink: the colour's name of a text's character, if it has one.
    """

    label: str
    box: Box
    ink: str | None = None

    @property
    def middle(self) -> tuple[float, float]:
        """The middle of its box."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    def shifted(self, x: float, y: float) -> "Mark":
        """Return the mark moved right by x and down by y pixels."""
        left, top, right, bottom = self.box
        return replace(self, box=(left + x, top + y, right + x, bottom + y))


@dataclass(frozen=True)
class Ask:
    """One question with the one answer that counts as right.

    Attributes:
        text: the question as a person would type it.
        answer: the exact answer.
        kind: "task/what", and in the test split what of it was never trained on,
            for example "text/word-unseen-font".
    """

    text: str
    answer: str
    kind: str


@dataclass(frozen=True)
class Scene:
    """One picture (RGB) with its questions and marks."""

    image: Image.Image
    questions: tuple[Ask, ...]
    marks: tuple[Mark, ...]
