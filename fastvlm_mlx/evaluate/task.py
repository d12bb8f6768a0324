"""What a task is: how its rows are asked, and how answers to them are judged."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

Row = Mapping[str, Any]
"""One row of a data set by its columns, images left out."""


class Judging(Enum):
    """What the scores of a task are, and so which interval goes with their mean."""

    RIGHT_OR_WRONG = "right or wrong"  # 0 or 1
    GRADED = "graded"  # anything between
    YES_OR_NO = "yes or no"  # 0 or 1, and F1 is the figure


def one_image(row: Row) -> tuple[str, ...]:
    """The column of a row that has its image."""
    return ("image",)


def every_row(row: Row) -> bool:
    """No row is left out."""
    return True


@dataclass(frozen=True, kw_only=True)
class Task:
    """One benchmark.

    `ask`, `truth` and `score` may raise LookupError, TypeError, ValueError,
    AttributeError or SyntaxError on a row that is not what it should be.
    """

    name: str
    title: str
    metric: str
    columns: tuple[str, ...]  # besides the images
    ask: Callable[[Row], str]
    truth: Callable[[Row], Any]  # what a record keeps of what is right
    score: Callable[[str, Any], float]  # an answer and the truth: 0 to 1
    max_tokens: int
    judging: Judging = Judging.RIGHT_OR_WRONG
    group: Callable[[Row], str | None] = lambda row: None
    keep: Callable[[Row], bool] = every_row
    image_columns: Callable[[Row], tuple[str, ...]] = one_image
    image_id: str | None = None  # the column that names an image of another table
    needs_image: bool = True  # a row without one is a damaged row
    strips: bool = True  # blanks around an answer do not count
    split: str = "test"  # the one that is usually reported
    folder: str | None = None  # of the data set's configurations
    images_folder: str | None = None  # of the table that image_id points into


def letters(choices: Sequence[Any]) -> list[str]:
    """A, B, C… for so many choices."""
    return [chr(ord("A") + place) for place in range(len(choices))]


def lettered(choices: Sequence[Any]) -> str:
    """Choices as lines "A. …"."""
    lines = zip(letters(choices), choices, strict=True)
    return "\n".join(f"{letter}. {choice}" for letter, choice in lines)


def letter_of(choices: Sequence[Any], place: Any) -> str:
    """The letter of the choice at a place from 0.

    Raises:
        IndexError: there is no such choice; hidden answers are often -1.
    """
    if int(place) < 0:
        raise IndexError(f"there is no choice {place}")
    return letters(choices)[int(place)]
