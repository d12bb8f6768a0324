"""The built-in samples: an image and a question each, the same on every machine.

Two sets that share no image and no question: one to calibrate with, and one to judge
with, so that nothing is judged by what it was fitted to. Neither has answers: the model
at full precision gives them (quality.py).
"""

import random
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from fastvlm_mlx.errors import OptionError

from . import drawings
from .drawings import Draw

Set = Literal["judge", "calibrate"]

MOST_SAMPLES = 256

JUDGED_SAMPLES = 32
CALIBRATED_SAMPLES = 64


@dataclass(frozen=True)
class Sample:
    """An image, by its place among the images of a set, and a question about it."""

    image: int
    question: str


_KINDS: tuple[tuple[Draw, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        drawings.shape,
        (
            "what shape is in the image?",
            "Describe the picture.",
            "what color is the shape?",
            "is there a red shape?",
        ),
        (
            "what is the shape in the image?",
            "is there a circle in the image?",
            "what color is the rectangle?",
            "does the image not contain a blue shape?",
        ),
    ),
    (
        drawings.page,
        (
            "What is the heading of this page?",
            "Read the first line below the heading.",
            "Is this a photo or a document?",
            "Copy the text.",
        ),
        (
            "What does the title say?",
            "Transcribe the last line.",
            "Which language is this?",
            "How many lines of text are there?",
        ),
    ),
    (
        drawings.bars,
        (
            "What is the title of the chart?",
            "Which month has the largest value?",
            "What kind of chart is this?",
            "List the values of all bars.",
        ),
        (
            "Which month is the lowest?",
            "Describe this chart.",
            "What is the value for Feb?",
            "What color are the bars?",
        ),
    ),
    (
        drawings.landscape,
        (
            "Describe this image in one sentence.",
            "How many trees are there?",
            "What is the weather like?",
            "Is there a person in the picture?",
        ),
        (
            "What is in the middle of the picture?",
            "Write a caption for this image.",
            "What time of day is it?",
            "Where is the sun?",
        ),
    ),
    (
        drawings.table,
        (
            "What is the most expensive item?",
            "How many rows does the table have?",
            "Write the table as text.",
            "What are the two columns?",
        ),
        (
            "What does the first item cost?",
            "List the items.",
            "What is the cheapest item?",
            "Summarize this table.",
        ),
    ),
    (
        drawings.shapes,
        (
            "How many circles can you see?",
            "Which colors appear?",
            "Describe what you see.",
            "What is the largest shape?",
        ),
        (
            "Count the triangles.",
            "What is on the left side?",
            "Is anything overlapping?",
            "What is the background color?",
        ),
    ),
    (
        drawings.sign,
        (
            "What does the sign say?",
            "What color is the sign?",
            "Where could this picture have been taken?",
            "Describe the picture in detail.",
        ),
        (
            "Read the sign.",
            "Is the sign round?",
            "What stands in the picture?",
            "What should I do when I see this?",
        ),
    ),
    (
        drawings.curve,
        (
            "How many lines are in the plot?",
            "Which line is higher at the end?",
            "Describe the trend.",
            "What is the range of the axis?",
        ),
        (
            "What colors are the lines?",
            "Do the lines cross?",
            "What does this plot show?",
            "What is the smallest number on the axis?",
        ),
    ),
)


def samples(of: Set, count: int) -> list[Sample]:
    """The first so many samples of a set: kinds in turn, then questions, then images.

    Raises:
        OptionError: a number that is not from 1 to MOST_SAMPLES.
    """
    check_samples(count)
    return [_sample(of, number) for number in range(count)]


def check_samples(count: int) -> None:
    """Refuse a number of samples that there are not."""
    if not 1 <= count <= MOST_SAMPLES:
        raise OptionError(f"{count} samples; expected 1 to {MOST_SAMPLES}.")


def sample_image(of: Set, number: int) -> Image.Image:
    """An image of a set by its number."""
    draw = _KINDS[number % len(_KINDS)][0]
    return draw(random.Random(f"{of} {number}"))


def _sample(of: Set, number: int) -> Sample:
    _, judged, calibrated = _KINDS[number % len(_KINDS)]
    round_, kind = divmod(number, len(_KINDS))
    if of == "calibrate":  # a new image each time, since what they show is fitted to
        return Sample(number, calibrated[round_ % len(calibrated)])
    image = round_ // len(judged) * len(_KINDS) + kind
    return Sample(image, judged[round_ % len(judged)])
