"""easy-vqa's pictures as scenes, moved and mirrored on canvases of any shape.

Every answer stays true. Moving is exact: the box that differs from the plain
background is cut out and pasted elsewhere, never cropped by the border.
"""

import random
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.nano.data import COLORS, SHAPES, UNKNOWN, Picture, Question, load_split
from benchmarks.nano.tasks.scene import Ask, Mark, Scene

MARGIN = 1  # Pixels kept around the shape, for its soft edge.
CONTRAST = 24  # Difference from the background that counts as shape, of 255.
SIDES = (48, 112)  # Pixels of a varied canvas's sides; the pictures have 64.
WILD_SHARE = 0.5  # Share of the varied pictures that get a canvas of another size.

# Shares of the drawn questions: requests for a sentence, and yes/no questions that name
# the picture's own color. With eight colors these are so rare in the data set that a
# model learns to answer without looking.
CAPTION_SHARE, MATCHING_SHARE = 0.1, 0.45
DRAWN = 4  # Questions of a training scene.
HELD_OUT = 200  # Pictures at the training split's end, kept for the log.

Pixels = npt.NDArray[np.uint8]


@cache
def _training() -> list[Picture]:
    return load_split("train")


def draw_easy(split: Literal["train", "test"], seed: int, index: int) -> Scene:
    """Return an easy-vqa scene from the official training split.

    Args:
        split: "train" for a varied picture, "test" for one of those held out, as it is.
        seed: of the variation.
        index: of the draw.
    """
    source = random.Random(f"easy-vqa {split} {seed} {index}")
    if split == "test":
        picture = _training()[-HELD_OUT:][index % HELD_OUT]
        image = Image.open(picture.path).convert("RGB")
        return Scene(image, tuple(map(_ask, picture.questions)), ())
    picture = source.choice(_training()[:-HELD_OUT])
    pixels = np.array(Image.open(picture.path).convert("RGB"))
    varied, box = vary(pixels, source)
    questions = tuple(_ask(_draw_question(picture, source)) for _ in range(DRAWN))
    return Scene(Image.fromarray(varied), questions, _marks(picture, box))


def _draw_question(picture: Picture, source: random.Random) -> Question:
    share = source.random()
    if share < CAPTION_SHARE and picture.caption:
        return picture.caption
    if share < CAPTION_SHARE + MATCHING_SHARE and picture.matching:
        return source.choice(picture.matching)
    return source.choice(picture.questions)


def _ask(question: Question) -> Ask:
    kind = question.kind.replace("/", "-")
    return Ask(question.text, question.answer, f"easy-vqa/{kind}")


def _marks(picture: Picture, box: tuple[int, int, int, int]) -> tuple[Mark, ...]:
    if UNKNOWN in (picture.shape, picture.color):
        return ()
    return (Mark(f"{COLORS[picture.color]} {SHAPES[picture.shape]}", box),)


def vary(
    pixels: Pixels, source: random.Random
) -> tuple[Pixels, tuple[int, int, int, int]]:
    """Put a picture's shape elsewhere, perhaps mirrored, perhaps on another canvas.

    Args:
        pixels: (H, W, 3), a shape on a plain background.
        source: of places, mirrors and sizes.

    Returns:
        The new picture (H', W', 3) and the shape's box: left, top, right, bottom.
    """
    background = np.median(pixels[[0, 0, -1, -1], [0, -1, 0, -1]], axis=0)
    shape = cut_out(pixels, background)
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


def cut_out(pixels: Pixels, background: npt.NDArray[np.float64]) -> Pixels:
    """Return the part of a picture (H, W, 3) that differs from its background (3,)."""
    shown = np.abs(pixels - background).max(axis=2) > CONTRAST
    rows, columns = _extent(shown.any(axis=1)), _extent(shown.any(axis=0))
    return pixels[rows, columns]


def _extent(occupied: npt.NDArray[np.bool_]) -> slice:
    places = np.flatnonzero(occupied)
    if not len(places):  # A shape hardly darker than its background stays whole.
        return slice(0, len(occupied))
    return slice(max(int(places[0]) - MARGIN, 0), int(places[-1]) + 1 + MARGIN)
