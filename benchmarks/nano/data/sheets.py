"""Sheets covered with characters or figures, for the vision tower.

A word shows five characters, a sheet a hundred, or thirty figures: nothing teaches more
per rendered pixel. Sheets have marks and no questions.
"""

import math
import random
import string
from dataclasses import dataclass

from PIL import Image, ImageDraw

from .square import CHARACTERS
from .tasks.figures import SHAPES, Figure, draw_figure
from .tasks.fonts import train_fonts
from .tasks.palette import NAMED, Colour, any_colour, light, names_on, shade
from .tasks.scene import Box, Mark, Point, Scene

SIDE = 256  # pixels of a sheet's side; it is resized like every image
FIGURES = 0.3  # share of the sheets that show figures
PANELS = 3  # most panels side by side in a band


@dataclass(frozen=True)
class Print:
    """How a sheet's characters look."""

    sizes: tuple[int, int]  # smallest and largest font size in pixels
    contrast: int  # least difference of lightness of panel and text, of 255

    def draw_size(self, source: random.Random) -> int:
        """A font size; small ones are drawn more often."""
        smallest, largest = self.sizes
        return round(smallest * math.pow(largest / smallest, source.random()))

    def draw_colours(self, source: random.Random) -> tuple[Colour, Colour]:
        """The colours of a panel and of its text."""
        while True:
            paper, ink = any_colour(source), any_colour(source)
            if abs(light(paper) - light(ink)) >= self.contrast:
                return paper, ink


# Without the first, easy to read, learning begins much later.
PRINTS = (Print(sizes=(18, 44), contrast=140), Print(sizes=(11, 44), contrast=60))

# Alphabets of a sheet's words, and their greatest length.
ALPHABETS = [
    (string.ascii_lowercase, 9),
    (string.ascii_lowercase, 9),
    (string.ascii_uppercase, 7),
    (string.digits, 6),
    (string.digits + ".,:/-", 8),
    ("".join(CHARACTERS), 3),
]


def draw_sheet(seed: int, index: int) -> Scene:
    """A sheet of characters or of figures."""
    source = random.Random(f"sheet {seed} {index}")
    draw = _figures if source.random() < FIGURES else _characters
    return draw(source)


def _figures(source: random.Random) -> Scene:
    """Draw figures of all kinds in the fields of a grid, at most one in each."""
    ground = any_colour(source)
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
    source: random.Random, names: list[str], corner: Point, field: float
) -> Figure:
    colour, shape = source.choice(names), source.choice(SHAPES)
    width = height = field * source.uniform(0.5, 1.0)
    if shape == "rectangle":
        thin = source.uniform(1.45, 2.4)
        width, height = source.choice([(width, height / thin), (width / thin, height)])
    left = corner[0] + source.uniform(0, field - width)
    top = corner[1] + source.uniform(0, field - height)
    box: Box = (left, top, left + width, top + height)
    turn = 0.0 if shape == "rectangle" else source.uniform(-12, 12)
    return Figure(colour, shape, shade(source, colour), box, turn)


def _characters(source: random.Random) -> Scene:
    """Draw bands of coloured panels, each with a line of characters."""
    style = source.choice(PRINTS)
    image = Image.new("RGB", (SIDE, SIDE))
    marks: list[Mark] = []
    top = 0
    while top < SIDE:
        size = style.draw_size(source)
        bottom = top + round(size * source.uniform(1.15, 1.7))
        edges = sorted(source.sample(range(16, SIDE, 16), source.randrange(PANELS)))
        for left, right in zip([0, *edges], [*edges, SIDE], strict=True):
            colours = style.draw_colours(source)
            marks += _panel(image, source, (left, top, right, bottom), size, colours)
        top = bottom
    return Scene(image, (), tuple(marks))


def _panel(
    image: Image.Image,
    source: random.Random,
    box: tuple[int, int, int, int],
    size: int,
    colours: tuple[Colour, Colour],
) -> list[Mark]:
    left, top, right, bottom = box
    draw = ImageDraw.Draw(image)
    draw.rectangle((left, top, right - 1, bottom - 1), colours[0])
    font = source.choice(train_fonts()).at(size)
    x = left + source.uniform(1, size / 2)
    base = top + source.uniform(0.8, 0.9) * (bottom - top)
    marks = []
    for character in _line(source):
        width = font.getlength(character)
        if x + width > right:
            break
        draw.text((x, base), character, colours[1], font, anchor="ls")
        if character != " ":
            mark = Mark(character, font.getbbox(character, anchor="ls"))
            marks.append(mark.shifted(x, base))
        x += width
    return marks


def _line(source: random.Random) -> str:
    words = []
    for _ in range(24):
        alphabet, longest = source.choice(ALPHABETS)
        length = source.randint(1, longest)
        words.append("".join(source.choices(alphabet, k=length)))
    return " ".join(words)
