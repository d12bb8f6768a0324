"""Text drawn with a mark for each character."""

from PIL import ImageDraw, ImageFont

from benchmarks.nano.tasks.palette import Color
from benchmarks.nano.tasks.scene import Mark


def write(
    pen: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    font: ImageFont.FreeTypeFont,
    fill: Color | tuple[int, int, int, int],
    anchor: str = "la",
) -> tuple[Mark, ...]:
    """Write one line and return a mark for each character that is not a space.

    Args:
        pen: draws into the picture.
        at: the anchor's place.
        text: one line.
        font: the font at its size.
        fill: the colour.
        anchor: Pillow's anchor: left, middle or right; ascender, middle or baseline.
    """
    pen.text(at, text, font=font, fill=fill, anchor=anchor)
    left, top = font.getbbox(text, anchor=anchor)[:2]
    ink_left, ink_top = font.getbbox(text, anchor="ls")[:2]
    x, baseline = at[0] + left - ink_left, at[1] + top - ink_top
    marks = []
    for place, character in enumerate(text):
        if character != " ":
            shift = x + font.getlength(text[:place])
            box = font.getbbox(character, anchor="ls")
            marks.append(_character(character, box, shift, baseline))
    return tuple(marks)


def _character(
    label: str, box: tuple[float, float, float, float], x: float, y: float
) -> Mark:
    left, top, right, bottom = box
    return Mark(label, (x + left, y + top, x + right, y + bottom))
