"""easy-vqa as plain values: its pictures, its questions, what they say of each picture.

In: the installed `easy-vqa` package. Out: a `Split`. It knows nothing of tokens, models
or torch, so that any runtime can be measured with it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import easy_vqa

SHAPES = ("circle", "rectangle", "triangle")
COLORS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
UNKNOWN = -1  # The label of an attribute that no question tells.

CAPTION_REQUEST = "Describe the picture."


@dataclass(frozen=True)
class Question:
    """One question about one picture, with the answer in the data set's own words."""

    text: str
    answer: str

    @property
    def kind(self) -> str:
        """What the answer is: "shape", "color", "yes/no" or "caption"."""
        if self.text == CAPTION_REQUEST:
            return "caption"
        if self.answer in SHAPES:
            return "shape"
        return "color" if self.answer in COLORS else "yes/no"


@dataclass(frozen=True)
class Picture:
    """One picture and what is asked about it.

    Attributes:
        path: its file, 64 x 64 pixels.
        questions: its questions, as the data set has them.
        matching: those yes/no questions that name its own color.
        shape: index into `SHAPES`, or `UNKNOWN`.
        color: index into `COLORS`, or `UNKNOWN`.
    """

    path: Path
    questions: tuple[Question, ...]
    matching: tuple[Question, ...]
    shape: int
    color: int

    @property
    def caption(self) -> Question | None:
        """A request for a sentence, where both shape and color are known."""
        if UNKNOWN in (self.shape, self.color):
            return None
        sentence = f"A {COLORS[self.color]} {SHAPES[self.shape]}."
        return Question(CAPTION_REQUEST, sentence)


Split = list[Picture]


def load_split(name: Literal["train", "test"]) -> Split:
    """Read an official split, in the order of the pictures' ids.

    Args:
        name: "train" (4 000 pictures) or "test" (1 000 pictures).
    """
    paths = getattr(easy_vqa, f"get_{name}_image_paths")()
    asked: dict[int, list[Question]] = {picture: [] for picture in sorted(paths)}
    rows = zip(*getattr(easy_vqa, f"get_{name}_questions")(), strict=True)
    for text, answer, picture in rows:
        asked[picture].append(Question(text, answer))
    return [_picture(paths[picture], questions) for picture, questions in asked.items()]


def _picture(path: str, questions: list[Question]) -> Picture:
    shape = attribute_label(questions, SHAPES)
    color = attribute_label(questions, COLORS)
    matching = tuple(question for question in questions if _matches(question))
    return Picture(Path(path), tuple(questions), matching, shape, color)


def attribute_label(questions: Iterable[Question], values: tuple[str, ...]) -> int:
    """Work out an attribute of a picture from its answered questions alone.

    A picture shows one shape of one color, so "is there a red shape?" answered yes, or
    "is there not a red shape?" answered no, tells the color.

    Args:
        questions: the questions of one picture.
        values: `SHAPES` or `COLORS`.

    Returns:
        The index into `values`, or `UNKNOWN`.
    """
    possible = set(values)
    for question in questions:
        shown, word = statement(question, values)
        if word is not None:
            possible &= {word} if shown else possible - {word}
    return values.index(possible.pop()) if len(possible) == 1 else UNKNOWN


def _matches(question: Question) -> bool:
    """Say whether a yes/no question names its picture's own color."""
    shown, word = statement(question, COLORS)
    return question.kind == "yes/no" and shown and word is not None


def statement(question: Question, values: tuple[str, ...]) -> tuple[bool, str | None]:
    """Say whether an answered question's thing is shown, and which value it names."""
    if question.answer in values:
        return True, question.answer
    words = question.text.rstrip("?").split()
    named = next((word for word in words if word in values), None)
    if question.kind != "yes/no":  # "what color is the circle?"
        return True, named
    negated = "no" in words or "not" in words
    return (question.answer == "yes") != negated, named
