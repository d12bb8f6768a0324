"""Sheets covered with characters, for the vision tower's first steps.

A picture of one word shows five characters, a sheet about a hundred, in as many colors,
sizes and fonts as fit: per rendered pixel nothing teaches reading faster. Nothing is
asked about a sheet; its marks are all there is to learn.
"""

import math
import random
import string
from dataclasses import dataclass

from PIL import Image, ImageDraw

from benchmarks.nano.labels import CHARACTERS
from benchmarks.nano.tasks.fonts import train_fonts
from benchmarks.nano.tasks.palette import Color, any_color, light
from benchmarks.nano.tasks.scene import Mark, Scene

SIDE = 256  # Pixels of a sheet's side; it is resized like every picture.
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
    """Return a sheet: bands of colored panels, each holding a line of characters."""
    source = random.Random(f"sheet {seed} {index}")
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
    for character in _characters(source):
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


def _characters(source: random.Random) -> str:
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
