"""Coloured figures with soft edges."""

import math
from dataclasses import dataclass

from PIL import Image, ImageDraw

from .palette import NAMED, Colour
from .scene import Box, Point

EASY = ("circle", "rectangle", "triangle")  # easy-vqa's
SHAPES = (*EASY, "square", "star", "diamond", "cross", "heart", "ring")
SOFT = 3  # drawn this many times larger and reduced, for soft edges

OBJECTS = tuple(f"{colour} {shape}" for shape in SHAPES for colour in NAMED)
"""All names of figures; a trained head's labels are indices into these."""


@dataclass(frozen=True)
class Figure:
    """One figure in an image."""

    colour: str
    shape: str
    fill: Colour
    box: Box  # the upright rectangle around it
    turn: float  # degrees

    @property
    def name(self) -> str:
        """Colour and shape: "red circle"."""
        return f"{self.colour} {self.shape}"

    @property
    def centre(self) -> Point:
        """The middle of its box, in pixels."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @property
    def extent(self) -> float:
        """The side of a square of its box's area, in pixels."""
        left, top, right, bottom = self.box
        return math.sqrt((right - left) * (bottom - top))


def draw_figure(image: Image.Image, figure: Figure, rim: Colour | None) -> None:
    """Draw a figure into the image, with a rim of another colour if given."""
    left, top, right, bottom = figure.box
    size = max(round(right - left), 3), max(round(bottom - top), 3)
    place = round(left), round(top)
    mask = _mask(figure, size, 1.0)
    if rim is not None:
        image.paste(rim, place, mask)
        mask = _mask(figure, size, 0.86)
    image.paste(figure.fill, place, mask)


def _mask(figure: Figure, size: tuple[int, int], share: float) -> Image.Image:
    """How much of each pixel of the box the figure covers, shrunk to a share."""
    width, height = size[0] * SOFT, size[1] * SOFT
    mask = Image.new("L", (width, height))
    pen = ImageDraw.Draw(mask)

    def place(points: list[Point]) -> list[Point]:
        return [
            (width * (0.5 + x * share / 2), height * (0.5 + y * share / 2))
            for x, y in points
        ]

    if figure.shape in ("circle", "ring"):
        pen.ellipse(place([(-1, -1), (1, 1)]), fill=255)
        if figure.shape == "ring":
            pen.ellipse(place([(-0.58, -0.58), (0.58, 0.58)]), fill=0)
    else:
        pen.polygon(place(_outline(figure.shape, figure.turn)), fill=255)
    return mask.reduce(SOFT)


def _outline(shape: str, turn: float) -> list[Point]:
    """A figure's corners, turned and stretched to fill -1 to 1 both ways."""
    angle = math.radians(turn)
    turned = [
        (
            x * math.cos(angle) - y * math.sin(angle),
            x * math.sin(angle) + y * math.cos(angle),
        )
        for x, y in _corners(shape)
    ]
    half_width = max(abs(x) for x, _ in turned)
    half_height = max(abs(y) for _, y in turned)
    if shape in ("square", "star", "cross"):  # keep their proportions
        half_width = half_height = max(half_width, half_height)
    return [(x / half_width, y / half_height) for x, y in turned]


def _corners(shape: str) -> list[Point]:
    if shape in ("square", "rectangle"):
        return [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    if shape == "diamond":
        return [(0, -1), (0.7, 0), (0, 1), (-0.7, 0)]
    if shape == "triangle":
        return [(0, -1), (1, 1), (-1, 1)]
    if shape == "cross":
        a, b = 1.0, 0.34
        return [
            *((-b, -a), (b, -a), (b, -b), (a, -b), (a, b), (b, b)),
            *((b, a), (-b, a), (-b, b), (-a, b), (-a, -b), (-b, -b)),
        ]
    return _star() if shape == "star" else _heart()


def _star() -> list[Point]:
    radii = (1.0, 0.42)
    angles = [math.pi * (i / 5 - 0.5) for i in range(10)]
    return [
        (radii[i % 2] * math.cos(angle), radii[i % 2] * math.sin(angle))
        for i, angle in enumerate(angles)
    ]


def _heart() -> list[Point]:
    """A curve of 40 points (the usual sine and cosine heart)."""
    points = []
    for i in range(40):
        t = 2 * math.pi * i / 40
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t)
        points.append((x / 16, -(y - math.cos(4 * t) + 2.5) / 14.5))
    return points
