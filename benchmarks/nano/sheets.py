"""Sheets covered with characters or figures, for the vision tower.

A picture of one word shows five characters, a sheet about a hundred, in as many colors,
sizes and fonts as fit, or about thirty figures: per rendered pixel nothing teaches
faster. Nothing is asked about a sheet; its marks are all there is to learn.
"""

import math
import random
import string
from dataclasses import dataclass

from PIL import Image, ImageDraw

from benchmarks.nano.labels import CHARACTERS
from benchmarks.nano.tasks.figures import SHAPES, Figure, draw_figure
from benchmarks.nano.tasks.fonts import train_fonts
from benchmarks.nano.tasks.palette import (
    NAMED,
    Color,
    any_color,
    light,
    names_on,
    shade,
)
from benchmarks.nano.tasks.scene import Box, Mark, Scene

SIDE = 256  # Pixels of a sheet's side; it is resized like every picture.
FIGURES = 0.3  # Share of the sheets that show figures.
PANELS = 3  # At most so many panels stand beside each other in a band.


@dataclass(frozen=True)
class Print:
    """How a sheet's characters look.

    Attributes:
        sizes: smallest and largest font size in pixels; small ones are drawn more.
        contrast: least difference of lightness between a panel and its text, of 255.
    """

    sizes: tuple[int, int]
    contrast: int

    def draw_size(self, source: random.Random) -> int:
        """Draw a font size."""
        smallest, largest = self.sizes
        return round(smallest * math.pow(largest / smallest, source.random()))

    def draw_colors(self, source: random.Random) -> tuple[Color, Color]:
        """Draw the colors of a panel and of its text."""
        while True:
            paper, ink = any_color(source), any_color(source)
            if abs(light(paper) - light(ink)) >= self.contrast:
                return paper, ink


# Half of the sheets are easy to read: without them the beginning takes much longer.
PRINTS = (Print(sizes=(18, 44), contrast=140), Print(sizes=(11, 44), contrast=60))


def draw_sheet(seed: int, index: int) -> Scene:
    """Return a sheet of characters or of figures."""
    source = random.Random(f"sheet {seed} {index}")
    draw = _figures if source.random() < FIGURES else _characters
    return draw(source)


def _figures(source: random.Random) -> Scene:
    """Draw figures of all kinds in the fields of a grid, one or none in each."""
    ground = any_color(source)
    image = Image.new("RGB", (SIDE, SIDE), ground)
    count = source.randint(2, 8)
    names, field = names_on([ground], tuple(NAMED)), SIDE / count
    marks = []
    for place in range(count**2):
        if source.random() < 0.8:
            corner = (place % count * field, place // count * field)
            figure = _figure(source, names, corner, field)
            draw_figure(image, figure, None)
            marks.append(Mark(figure.name, figure.box))
    return Scene(image, (), tuple(marks))


def _figure(
    source: random.Random, names: list[str], corner: tuple[float, float], field: float
) -> Figure:
    """Draw a figure of any size that fits into a field."""
    color, shape = source.choice(names), source.choice(SHAPES)
    width = height = field * source.uniform(0.5, 1.0)
    if shape == "rectangle":
        thin = source.uniform(1.45, 2.4)
        width, height = source.choice([(width, height / thin), (width / thin, height)])
    left = corner[0] + source.uniform(0, field - width)
    top = corner[1] + source.uniform(0, field - height)
    box: Box = (left, top, left + width, top + height)
    turn = 0.0 if shape == "rectangle" else source.uniform(-12, 12)
    return Figure(color, shape, shade(source, color), box, turn)


def _characters(source: random.Random) -> Scene:
    """Draw bands of colored panels, each holding a line of characters."""
    style = source.choice(PRINTS)
    image = Image.new("RGB", (SIDE, SIDE))
    marks: list[Mark] = []
    top = 0
    while top < SIDE:
        size = style.draw_size(source)
        bottom = top + round(size * source.uniform(1.15, 1.7))
        edges = sorted(source.sample(range(16, SIDE, 16), source.randrange(PANELS)))
        for left, right in zip([0, *edges], [*edges, SIDE], strict=True):
            colors = style.draw_colors(source)
            marks += _panel(image, source, (left, top, right, bottom), size, colors)
        top = bottom
    return Scene(image, (), tuple(marks))


def _panel(
    image: Image.Image,
    source: random.Random,
    box: tuple[int, int, int, int],
    size: int,
    colors: tuple[Color, Color],
) -> list[Mark]:
    """Fill a box with a color and a line of characters; return their marks."""
    left, top, right, bottom = box
    draw = ImageDraw.Draw(image)
    draw.rectangle((left, top, right - 1, bottom - 1), colors[0])
    font = source.choice(train_fonts()).at(size)
    x = left + source.uniform(1, size / 2)
    base = top + source.uniform(0.8, 0.9) * (bottom - top)
    marks = []
    for character in _line(source):
        width = font.getlength(character)
        if x + width > right:
            break
        draw.text((x, base), character, colors[1], font, anchor="ls")
        if character != " ":
            ink = font.getbbox(character, anchor="ls")
            box_of_ink = (x + ink[0], base + ink[1], x + ink[2], base + ink[3])
            marks.append(Mark(character, box_of_ink))
        x += width
    return marks


def _line(source: random.Random) -> str:
    """Draw a long line: small and large letters, numbers, now and then any sign."""
    words = []
    for _ in range(24):
        alphabet, longest = source.choice(
            [
                (string.ascii_lowercase, 9),
                (string.ascii_lowercase, 9),
                (string.ascii_uppercase, 7),
                (string.digits, 6),
                (string.digits + ".,:/-", 8),
                ("".join(CHARACTERS), 3),
            ]
        )
        length = source.randint(1, longest)
        words.append("".join(source.choices(alphabet, k=length)))
    return " ".join(words)
