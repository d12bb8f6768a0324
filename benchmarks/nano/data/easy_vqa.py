"""easy-vqa: its images and questions, and scenes that vary them for training.

Varied images are moved and mirrored on canvases of any proportions: the box that
differs from the plain background is pasted elsewhere, never cropped, so every answer
stays true.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import easy_vqa
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .tasks.figures import EASY as SHAPES
from .tasks.holdout import Split
from .tasks.palette import EASY as COLOURS
from .tasks.scene import Mark, Question, Scene

EASY = "easy-vqa"
YES_NO = f"{EASY}/yes-no"
UNKNOWN = -1  # an attribute that does not follow from the questions
CAPTION_REQUEST = "Describe the picture."

MARGIN = 1  # pixels kept around the shape, for its soft edge
CONTRAST = 24  # difference from the background that counts as shape, of 255
SIDES = (48, 112)  # pixels of a varied canvas's sides; the originals have 64
WILD_SHARE = 0.5  # share of the varied images that get a canvas of another size

# Shares of drawn questions: descriptions, and yes/no questions about the image's own
# colour, which are so rare that a model learns to answer "no" without looking.
CAPTION_SHARE, MATCHING_SHARE = 0.1, 0.45
DRAWN = 4  # questions of a training scene
HELD_OUT = 200  # images at the training split's end, kept for the log

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class EasyImage:
    """One image of the data set and its questions."""

    path: Path  # 64 x 64 pixels
    questions: tuple[Question, ...]
    matching: tuple[Question, ...]  # yes/no questions that name its own colour
    shape: int  # index into SHAPES, or UNKNOWN
    colour: int  # index into COLOURS, or UNKNOWN

    @property
    def name(self) -> str | None:
        """Colour and shape, where both are known."""
        if UNKNOWN in (self.shape, self.colour):
            return None
        return f"{COLOURS[self.colour]} {SHAPES[self.shape]}"

    @property
    def caption(self) -> Question | None:
        """A request for a description, where shape and colour are known."""
        if self.name is None:
            return None
        return Question(CAPTION_REQUEST, f"A {self.name}.", f"{EASY}/caption")


def load_split(name: Split) -> list[EasyImage]:
    """An official split by image id: 4 000 images for "train", 1 000 for "test"."""
    paths = getattr(easy_vqa, f"get_{name}_image_paths")()
    asked: dict[int, list[Question]] = {image: [] for image in sorted(paths)}
    rows = zip(*getattr(easy_vqa, f"get_{name}_questions")(), strict=True)
    for text, answer, image in rows:
        asked[image].append(Question(text, answer, _kind(answer)))
    return [_image(paths[image], questions) for image, questions in asked.items()]


def _kind(answer: str) -> str:
    if answer in SHAPES:
        return f"{EASY}/shape"
    return f"{EASY}/color" if answer in COLOURS else YES_NO


def _image(path: str, questions: list[Question]) -> EasyImage:
    shape = attribute_label(questions, SHAPES)
    colour = attribute_label(questions, COLOURS)
    matching = tuple(question for question in questions if _matches(question))
    return EasyImage(Path(path), tuple(questions), matching, shape, colour)


def attribute_label(questions: Iterable[Question], values: tuple[str, ...]) -> int:
    """The index into `values` (SHAPES or COLOURS) that the answers imply, or UNKNOWN.

    "Is there a red shape?" answered yes, or "is there not a red shape?" answered no,
    gives the colour: an image shows one shape.
    """
    possible = set(values)
    for question in questions:
        shown, word = statement(question, values)
        if word is not None:
            possible &= {word} if shown else possible - {word}
    return values.index(possible.pop()) if len(possible) == 1 else UNKNOWN


def _matches(question: Question) -> bool:
    shown, word = statement(question, COLOURS)
    return question.kind == YES_NO and shown and word is not None


def statement(question: Question, values: tuple[str, ...]) -> tuple[bool, str | None]:
    """Whether an answered question's object is shown, and which value it names."""
    if question.answer in values:
        return True, question.answer
    words = question.text.rstrip("?").split()
    named = next((word for word in words if word in values), None)
    if question.kind != YES_NO:  # "what color is the circle?"
        return True, named
    negated = "no" in words or "not" in words
    return (question.answer == "yes") != negated, named


def official_test_scenes(count: int) -> list[Scene]:
    """The first images of the official test split, as they are."""
    return [_plain(image) for image in load_split("test")[:count]]


def _plain(image: EasyImage) -> Scene:
    return Scene(Image.open(image.path).convert("RGB"), image.questions, ())


@cache
def _training() -> list[EasyImage]:
    return load_split("train")


def draw_easy(split: Split, seed: int, index: int) -> Scene:
    """A varied scene of the training split; for "test" one of the last HELD_OUT."""
    source = random.Random(f"easy-vqa {split} {seed} {index}")
    if split == "test":
        return _plain(_training()[-HELD_OUT:][index % HELD_OUT])
    image = source.choice(_training()[:-HELD_OUT])
    pixels = np.array(Image.open(image.path).convert("RGB"))
    varied, box = vary(pixels, source)
    questions = tuple(_draw_question(image, source) for _ in range(DRAWN))
    marks = () if image.name is None else (Mark(image.name, box),)
    return Scene(Image.fromarray(varied), questions, marks)


def _draw_question(image: EasyImage, source: random.Random) -> Question:
    share = source.random()
    if share < CAPTION_SHARE and image.caption:
        return image.caption
    if share < CAPTION_SHARE + MATCHING_SHARE and image.matching:
        return source.choice(image.matching)
    return source.choice(image.questions)


def vary(
    pixels: Pixels, source: random.Random
) -> tuple[Pixels, tuple[int, int, int, int]]:
    """Move the shape of an image (H, W, 3), perhaps mirrored, perhaps to a new canvas.

    Returns:
        The new image (H', W', 3) and the shape's box: left, top, right, bottom.
    """
    background = np.median(pixels[[0, 0, -1, -1], [0, -1, 0, -1]], axis=0)
    shape = _cut_out(pixels, background)
    if source.random() < 0.5:
        shape = shape[:, ::-1]
    height, width = shape.shape[:2]
    canvas_height, canvas_width = pixels.shape[:2]
    if source.random() < WILD_SHARE:
        canvas_height = source.randint(max(SIDES[0], height), SIDES[1])
        canvas_width = source.randint(max(SIDES[0], width), SIDES[1])
    top = source.randint(0, canvas_height - height)
    left = source.randint(0, canvas_width - width)
    canvas = np.empty((canvas_height, canvas_width, 3), np.uint8)
    canvas[:] = background.astype(np.uint8)
    canvas[top : top + height, left : left + width] = shape
    return canvas, (left, top, left + width, top + height)


def _cut_out(pixels: Pixels, background: NDArray[np.float64]) -> Pixels:
    """The part of an image (H, W, 3) that differs from its background (3,)."""
    shown = np.abs(pixels - background).max(axis=2) > CONTRAST
    return pixels[_extent(shown.any(axis=1)), _extent(shown.any(axis=0))]


def _extent(occupied: NDArray[np.bool_]) -> slice:
    places = np.flatnonzero(occupied)
    if not len(places):  # a shape hardly darker than its background stays whole
        return slice(0, len(occupied))
    return slice(max(int(places[0]) - MARGIN, 0), int(places[-1]) + 1 + MARGIN)
