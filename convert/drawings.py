"""Images to ask about, drawn from fixed numbers: print, charts, shapes, scenes.

No file and no licence is needed, and every machine has the same images, but for how
its Pillow draws letters. A number picks one of each kind, endlessly.
"""

import random
from collections.abc import Callable

from PIL import Image, ImageDraw, ImageFont

Draw = Callable[[random.Random], Image.Image]

COLOURS = {
    "red": (200, 30, 30),
    "blue": (30, 60, 200),
    "green": (30, 140, 60),
    "yellow": (235, 200, 40),
    "black": (20, 20, 20),
    "teal": (30, 140, 140),
    "brown": (130, 80, 40),
    "gray": (128, 128, 128),
}

_PAPER, _INK = (250, 249, 245), (25, 25, 30)

_WORDS = (
    "harbour morning letter seven window garden market river station bread winter "
    "yellow quiet engine paper north kitchen bridge silver coffee ticket music "
    "number street orange doctor travel island summer history"
).split()

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug")


def shape(numbers: random.Random) -> Image.Image:
    """One coloured shape on a plain light background, small."""
    side = 64
    light = tuple(numbers.randrange(225, 256) for _ in range(3))
    image = Image.new("RGB", (side, side), light)
    size, left, top = (
        numbers.randrange(*span) for span in ((20, 34), (4, 26), (4, 26))
    )
    _draw_shape(ImageDraw.Draw(image), numbers, (left, top, left + size, top + size))
    return image


def shapes(numbers: random.Random) -> Image.Image:
    """A dozen shapes of several colours, some on top of others."""
    image = Image.new("RGB", (600, 450), (240, 240, 235))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        size, left = numbers.randrange(40, 160), numbers.randrange(520)
        top = numbers.randrange(370)
        _draw_shape(draw, numbers, (left, top, left + size, top + size))
    return image


def page(numbers: random.Random) -> Image.Image:
    """A heading and lines of print."""
    image = Image.new("RGB", (600, 800), _PAPER)
    draw = ImageDraw.Draw(image)
    _write(draw, (40, 40), " ".join(numbers.sample(_WORDS, 2)).title(), 40)
    for line in range(18):
        _write(draw, (40, 120 + 35 * line), " ".join(numbers.sample(_WORDS, 6)), 20)
    return image


def bars(numbers: random.Random) -> Image.Image:
    """A bar chart with a title and a name under each bar."""
    image = Image.new("RGB", (700, 500), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    _write(draw, (40, 20), f"{numbers.choice(_WORDS).title()} per month", 28)
    colour = numbers.choice(list(COLOURS.values()))
    for place, month in enumerate(_MONTHS[:6]):
        value = numbers.randrange(40, 330)
        left = 70 + 100 * place
        draw.rectangle((left, 430 - value, left + 60, 430), fill=colour)
        _write(draw, (left + 8, 440), month, 22)
        _write(draw, (left + 8, 400 - value), str(value), 20)
    draw.line((50, 430, 670, 430), fill=_INK, width=3)
    return image


def curve(numbers: random.Random) -> Image.Image:
    """Two lines over a grid, with a legend."""
    image = Image.new("RGB", (700, 450), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    for line in range(6):
        draw.line((60, 60 + 65 * line, 660, 60 + 65 * line), fill=(210, 210, 210))
        _write(draw, (15, 50 + 65 * line), str(50 - 10 * line), 18)
    for place, name in enumerate(numbers.sample(list(COLOURS), 2)):
        height, points = numbers.uniform(120, 320), []
        for step in range(13):
            height = min(max(height + numbers.uniform(-60, 60), 70), 380)
            points.append((60 + 50 * step, height))
        draw.line(points, fill=COLOURS[name], width=4)
        _write(draw, (100 + 250 * place, 15), f"{name} line", 22, COLOURS[name])
    return image


def table(numbers: random.Random) -> Image.Image:
    """Words and prices in rows."""
    image = Image.new("RGB", (500, 420), _PAPER)
    draw = ImageDraw.Draw(image)
    _write(draw, (30, 15), "Item", 26)
    _write(draw, (330, 15), "Price", 26)
    for row, word in enumerate(numbers.sample(_WORDS, 7)):
        top = 60 + 50 * row
        draw.line((20, top, 480, top), fill=_INK)
        _write(draw, (30, top + 10), word, 24)
        price = f"{numbers.randrange(1, 90)}.{numbers.randrange(10, 99)}"
        _write(draw, (330, top + 10), price, 24)
    return image


def sign(numbers: random.Random) -> Image.Image:
    """A board on a post, with a few large words."""
    image = _sky(numbers, (500, 600))
    draw = ImageDraw.Draw(image)
    draw.rectangle((235, 300, 265, 600), fill=(110, 110, 115))
    draw.rounded_rectangle(
        (60, 90, 440, 330),
        20,
        fill=numbers.choice(list(COLOURS.values())),
        outline=(255, 255, 255),
        width=8,
    )
    for line, word in enumerate(numbers.sample(_WORDS, 2)):
        _write(draw, (100, 130 + 80 * line), word.upper(), 52, (255, 255, 255))
    return image


def landscape(numbers: random.Random) -> Image.Image:
    """A house and trees under a sky with a sun."""
    image = _sky(numbers, (800, 500))
    draw = ImageDraw.Draw(image)
    sun = numbers.randrange(60, 700)
    draw.ellipse((sun, 40, sun + 80, 120), fill=(250, 220, 90))
    draw.rectangle((0, 360, 800, 500), fill=(95, 150, 70))
    for _ in range(numbers.randrange(2, 6)):
        left = numbers.randrange(20, 740)
        draw.rectangle((left + 15, 330, left + 30, 390), fill=(100, 70, 40))
        draw.ellipse((left - 15, 240, left + 60, 350), fill=(40, 110, 50))
    left = numbers.randrange(150, 500)
    draw.rectangle((left, 260, left + 180, 400), fill=(190, 120, 90))
    draw.polygon([(left - 20, 260), (left + 90, 170), (left + 200, 260)], _INK)
    draw.rectangle((left + 70, 320, left + 110, 400), fill=(90, 60, 40))
    return image


def _sky(numbers: random.Random, size: tuple[int, int]) -> Image.Image:
    """A smooth ramp from blue down to near white."""
    ramp = Image.linear_gradient("L").resize(size)
    top = Image.new("RGB", size, (60, 110 + numbers.randrange(60), 220))
    return Image.composite(Image.new("RGB", size, (235, 240, 250)), top, ramp)


def _draw_shape(
    draw: ImageDraw.ImageDraw,
    numbers: random.Random,
    box: tuple[int, int, int, int],
) -> None:
    left, top, right, bottom = box
    colour = numbers.choice(list(COLOURS.values()))
    kind = numbers.randrange(3)
    if kind == 0:
        draw.ellipse(box, fill=colour)
    elif kind == 1:
        draw.rectangle(box, fill=colour)
    else:
        corners = [(left, bottom), ((left + right) // 2, top), (right, bottom)]
        draw.polygon(corners, fill=colour)


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    size: int,
    colour: tuple[int, int, int] = _INK,
) -> None:
    draw.text(place, text, fill=colour, font=ImageFont.load_default(size))
