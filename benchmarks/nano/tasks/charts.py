"""The charts task: labelled bar and pie charts in several styles."""

import math
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw, ImageFont

from benchmarks.nano.tasks.camera import wear
from benchmarks.nano.tasks.chart_data import (
    Table,
    draw_questions,
    draw_table,
    shown_value,
)
from benchmarks.nano.tasks.fonts import FAMILIES, Face, draw_face, faces
from benchmarks.nano.tasks.ground import Size, draw_size
from benchmarks.nano.tasks.holdout import Split, novelty
from benchmarks.nano.tasks.lettering import write
from benchmarks.nano.tasks.palette import Color, any_color, dark, light, pale
from benchmarks.nano.tasks.scene import Mark, Scene

PLOTTER = 0.4  # Share of charts that look as matplotlib's do unchanged.
PIES = 0.3
# matplotlib's ten default colours.
TEN = (
    *((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189)),
    *((140, 86, 75), (227, 119, 194), (127, 127, 127), (188, 189, 34), (23, 190, 207)),
)
REACH = 0.88  # How far into the plot the axis' last number lies.
SMOOTH = 3  # Pies are drawn so many times larger and reduced.


@dataclass
class Sheet:
    """A chart being drawn.

    Attributes:
        image: the picture.
        font: of all its text.
        paper: the ground's colour.
        ink: the colour of text and axes.
        fills: the colours of the bars or parts, in order.
        marks: what has been drawn so far.
    """

    image: Image.Image
    font: ImageFont.FreeTypeFont
    paper: Color
    ink: Color
    fills: tuple[Color, ...]
    marks: list[Mark]

    @property
    def pen(self) -> ImageDraw.ImageDraw:
        """Draws into the picture."""
        return ImageDraw.Draw(self.image)

    def write(self, x: float, y: float, text: str, anchor: str) -> None:
        """Write one line and keep its marks."""
        at = (round(x), round(y))
        self.marks += write(self.pen, at, text, self.font, self.ink, anchor)


def draw_chart(random: Random, split: Split) -> Scene:
    """Draw a bar chart or a pie chart and ask about it."""
    size = draw_size(random)
    plotter = random.random() < PLOTTER
    face = _plotter_face(split) if plotter else draw_face(random, split, everyday=True)
    face = face or draw_face(random, split, everyday=True)
    text = _text_size(random, size)
    paper, ink = _colors(random, plotter)
    fills = _fills(random, paper, plotter)
    image = Image.new("RGB", size, paper)
    sheet = Sheet(image, face.at(text), paper, ink, fills, [])
    if random.random() < PIES:
        sheet.font = face.at(min(text, round(min(size) * 0.075)))
        table = draw_table(random, split, "pie", 5)
        _draw_pie(random, sheet, table)
    else:
        across = size[1] > size[0] * 1.3 or random.random() < 0.3
        room = size[1] / (text * 2.2) if across else size[0] / (text * 3.6)
        most = min(6, max(int(room) - 1, 2))
        table = draw_table(random, split, "bar", most)
        _draw_bars(random, sheet, table, across)
    asked = draw_questions(random, table, novelty(table.unseen, face.unseen))
    return Scene(wear(random, sheet.image), asked, tuple(sheet.marks))


def _text_size(random: Random, size: Size) -> int:
    """Draw a font size that leaves most of the picture to the plot."""
    wanted = max(size) * random.uniform(0.045, 0.075)
    return max(round(min(wanted, size[0] * 0.07, size[1] * 0.085)), 7)


def _plotter_face(split: Split) -> Face | None:
    """Return Bitstream Vera, which matplotlib's DejaVu was made from."""
    if split == "test":
        return None  # There any font, so that unseen ones occur.
    family = next(one for one in FAMILIES if one.name == "Bitstream Vera")
    return next(face for face in faces(family) if face.path.endswith("Vera.ttf"))


def _colors(random: Random, plotter: bool) -> tuple[Color, Color]:
    """Draw the colours of paper and ink."""
    if plotter:
        return (255, 255, 255), (0, 0, 0)
    if random.random() < 0.2:
        return dark(random), pale(random)
    return pale(random), dark(random)


def _fills(random: Random, paper: Color, plotter: bool) -> tuple[Color, ...]:
    """Draw the bars' colours: matplotlib's, one for all, or a colour each."""
    if plotter or random.random() < 0.3:
        return TEN[:1] * 10 if random.random() < 0.5 else TEN
    wanted = [any_color(random) for _ in range(40)]
    clear = [one for one in wanted if abs(light(one) - light(paper)) > 50] or [*TEN]
    one_for_all = clear[:1] * 10
    return tuple(one_for_all if random.random() < 0.5 else (clear * 10)[:10])


def _draw_bars(random: Random, sheet: Sheet, table: Table, across: bool) -> None:
    """Draw upright bars, or bars across, with their axis and labels."""
    width, height = sheet.image.size
    text = sheet.font.size
    top = text * (2.2 if table.title else 0.9)
    if table.title:
        sheet.write(width / 2, text * 1.1, table.title, "mm")
    longest = max(sheet.font.getlength(label) for label in table.labels)
    scale = _scale(table, 3.2 if across and width < 20 * text else 5.2)
    digits = sheet.font.getlength(str(max(scale)))
    left = (longest if across else digits) + text * 1.1
    right = width - text * (2.2 if across and table.told else 0.8)
    frame = (left, top, right, height - text * 1.9)
    if not across:
        slot = (frame[2] - frame[0]) / len(table.labels)
        if longest > slot * 0.96:  # The labels would run into each other.
            smaller = max(int(text * slot * 0.96 / longest), 6)
            sheet.font = sheet.font.font_variant(size=smaller)
    _draw_axes(random, sheet, frame, scale, across, not table.told)
    _draw_each_bar(random, sheet, table, frame, scale[-1], across)


def _scale(table: Table, most: float) -> list[int]:
    """Return the axis' values: `most` round steps at most, to above the highest."""
    highest = max(table.values)
    exponent = 10 ** max(math.floor(math.log10(highest)) - 1, 0)
    step = next(
        unit * exponent
        for unit in (1, 2, 5, 10, 20, 50)
        if highest / (unit * exponent) <= most
    )
    return list(range(0, highest + step, step))


def _draw_axes(
    random: Random,
    sheet: Sheet,
    frame: tuple[float, float, float, float],
    scale: list[int],
    across: bool,
    needed: bool,
) -> None:
    """Draw the frame, the axis' numbers and perhaps lines across the plot.

    Args:
        random: the source of every choice.
        sheet: the chart.
        frame: the plot's left, top, right and bottom.
        scale: the axis' values.
        across: whether the bars lie.
        needed: whether the values can be read from the axis only.
    """
    left, top, right, bottom = frame
    pen, thin = sheet.pen, max(round(sheet.font.size / 14), 1)
    grid = random.random() < (0.7 if needed else 0.3)
    gray = tuple((a + 3 * b) // 4 for a, b in zip(sheet.ink, sheet.paper, strict=True))
    for value in scale if needed or random.random() < 0.6 else []:
        share = value / scale[-1] * REACH
        x, y = left + (right - left) * share, bottom - (bottom - top) * share
        gap = sheet.font.size * 0.35
        if across:
            if grid:
                pen.line((x, top, x, bottom), gray, thin)
            pen.line((x, bottom, x, bottom + gap), sheet.ink, thin)
            sheet.write(x, bottom + 2 * gap, str(value), "mt")
        else:
            if grid:
                pen.line((left, y, right, y), gray, thin)
            pen.line((left - gap, y, left, y), sheet.ink, thin)
            sheet.write(left - 1.4 * gap, y, str(value), "rm")
    if random.random() < 0.5:
        pen.rectangle(frame, outline=sheet.ink, width=thin)
    else:
        pen.line((left, top, left, bottom), sheet.ink, thin)
        pen.line((left, bottom, right, bottom), sheet.ink, thin)


def _draw_each_bar(
    random: Random,
    sheet: Sheet,
    table: Table,
    frame: tuple[float, float, float, float],
    full: int,
    across: bool,
) -> None:
    """Draw the bars with their labels, and their values where they are to be told."""
    left, top, right, bottom = frame
    thick = random.uniform(0.5, 0.85)
    slot = ((bottom - top) if across else (right - left)) / len(table.labels)
    gap = sheet.font.size * 0.35
    pairs = zip(table.labels, table.values, strict=True)
    for place, (label, value) in enumerate(pairs):
        fill = sheet.fills[place]
        share = value / full * REACH
        if across:
            y = top + slot * (place + 0.5)
            x = left + (right - left) * share
            box = (left, y - slot * thick / 2, x, y + slot * thick / 2)
            sheet.write(left - gap, y, label, "rm")
            number_at = (x + gap, y, "lm")
        else:
            x = left + slot * (place + 0.5)
            y = bottom - (bottom - top) * share
            box = (x - slot * thick / 2, y, x + slot * thick / 2, bottom)
            sheet.write(x, bottom + 2 * gap, label, "mt")
            number_at = (x, y - gap * 0.7, "mb")
        sheet.pen.rectangle(tuple(round(edge) for edge in box), fill)
        sheet.marks.append(Mark("bar", box))
        if table.told:
            sheet.write(number_at[0], number_at[1], str(value), number_at[2])


def _draw_pie(random: Random, sheet: Sheet, table: Table) -> None:
    """Draw a pie with labels beside its parts, and per cent where they are told."""
    width, height = sheet.image.size
    text = sheet.font.size
    top = text * 2 if table.title else 0
    if table.title:
        sheet.write(width / 2, text * 1.1, table.title, "mm")
    longest = max(sheet.font.getlength(label) for label in (*table.labels, "88%"))
    limit = (width / 2 - longest - text * 0.7, (height - top) / 2 - text * 2.4)
    radius = max(min(limit), min(width, height) * 0.16)
    middle = (width / 2, top + (height - top) / 2)
    fills = TEN if len(set(sheet.fills)) == 1 else sheet.fills
    angle = random.choice((0, -90, 90, random.uniform(0, 360)))
    for place, (label, value) in enumerate(
        zip(table.labels, table.values, strict=True)
    ):
        end = angle + 3.6 * value
        _draw_part(sheet, middle, radius, (angle, end), fills[place])
        shown = f"{shown_value(table, value)}" if table.told else ""
        _label_part(sheet, middle, radius, (angle + end) / 2, label, shown)
        angle = end


def _draw_part(
    sheet: Sheet,
    middle: tuple[float, float],
    radius: float,
    angles: tuple[float, float],
    fill: Color,
) -> None:
    side = round(2 * radius) * SMOOTH
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).pieslice((0, 0, side - 1, side - 1), *angles, fill=255)
    left, top = round(middle[0] - radius), round(middle[1] - radius)
    sheet.image.paste(fill, (left, top), mask.reduce(SMOOTH))
    x0, y0, x1, y1 = mask.getbbox() or (0, 0, 0, 0)
    box = (x0 / SMOOTH + left, y0 / SMOOTH + top, x1 / SMOOTH + left, y1 / SMOOTH + top)
    sheet.marks.append(Mark("part", box))


def _label_part(
    sheet: Sheet,
    middle: tuple[float, float],
    radius: float,
    angle: float,
    label: str,
    shown: str,
) -> None:
    """Write a label outside of its part, and its value below it."""
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    text = sheet.font.size
    x = middle[0] + cosine * (radius + text * 0.35)
    y = middle[1] + sine * (radius + text * (0.9 if not shown else 1.2))
    side = "l" if cosine > 0.3 else "r" if cosine < -0.3 else "m"
    if not shown:
        return sheet.write(x, y, label, f"{side}m")
    sheet.write(x, y - text * 0.55, label, f"{side}m")
    sheet.write(x, y + text * 0.55, shown, f"{side}m")
