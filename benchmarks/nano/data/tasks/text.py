"""The text task: a word, a number or a short line, on a ground, a sign or a label."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

from PIL import Image, ImageDraw

from .canvas import Ground, Size, draw_ground, draw_size, paste_tilted, tilted, wear
from .fonts import Face, draw_face, write
from .holdout import Split, novelty, unseen_wanted
from .palette import NAMED, Colour, any_colour, light, pale, readable_on, shade
from .scene import Mark, Question, Scene
from .wording import (
    ask,
    draw_letters,
    draw_number,
    draw_price,
    draw_time,
    draw_word,
    is_unseen_number,
)

HARD = 0.2  # share of texts that need more than 256 pixels to be read
EASY_SIZES, HARD_SIZES = (0.11, 0.34), (0.055, 0.11)  # of the image's longer side
LEADING = 1.25  # distance of two lines, in font sizes
PLATES = 0.45  # share of texts on a sign or label
PAD = 0.8  # widest rim of a plate around its text, in font sizes
TILTED = 0.35  # share of plates that are seen at an angle


@dataclass(frozen=True)
class Writing:
    """What is written."""

    lines: tuple[str, ...]  # from top to bottom
    what: str  # "word", "letters", "line", "number", "price", "time", "year", "both"
    unseen: bool  # whether a held-out word or number is among it

    @property
    def text(self) -> str:
        """All of it, as it is read out."""
        return " ".join(self.lines)


def draw_text(random: Random, split: Split) -> Scene:
    """Draw an image of a text and ask what is written."""
    size = draw_size(random)
    face = draw_face(random, split)
    writing = draw_writing(random, split, face.family.capitals)
    on_plate = random.random() < PLATES
    ground = draw_ground(random, size)
    if on_plate:
        marks, name = _draw_plate(random, ground.image, writing, face)
    else:
        marks, name = _draw_plain(random, ground, writing, face)
    asked = draw_questions(random, writing, name, novelty(writing.unseen, face.unseen))
    caption = _caption(writing, on_plate, novelty(writing.unseen, face.unseen))
    return Scene(wear(random, ground.image), (*asked, caption), marks)


def draw_writing(random: Random, split: Split, capitals: bool) -> Writing:
    """Draw what is written: mostly one word, else a number, a line or letters."""
    kind = random.random()
    if kind < 0.46:
        word, unseen = draw_word(random, split)
        return Writing((_cased(random, word, capitals),), "word", unseen)
    if kind < 0.54:
        letters = draw_letters(random)
        return Writing((_cased(random, letters, capitals),), "letters", False)
    if kind < 0.8:
        return _draw_amount(random, split)
    if kind < 0.94:
        return _draw_lines(random, split, capitals)
    return _draw_both(random, split, capitals)


def _draw_amount(random: Random, split: Split) -> Writing:
    what = random.choices(("number", "price", "time", "year"), (5, 3, 2, 2))[0]
    if what == "number":
        bare = shown = draw_number(random, split)
    elif what == "price":
        bare = draw_price(random, split)
        shown = random.choice(("$", "€", "£")) + bare
    elif what == "time":
        bare = shown = draw_time(random, split)
    else:
        bare = shown = _draw_year(random, split)
    return Writing((shown,), what, is_unseen_number(bare))


def _draw_year(random: Random, split: Split) -> str:
    unseen = unseen_wanted(random, split)
    years = [str(year) for year in range(1800, 2050)]
    return random.choice([year for year in years if is_unseen_number(year) == unseen])


def _draw_lines(random: Random, split: Split, capitals: bool) -> Writing:
    """Draw two or three words, on one line or one below the other."""
    drawn = [draw_word(random, split) for _ in range(random.choice((2, 2, 3)))]
    style = random.choice((str.lower, str.title, str.upper))
    words = [(str.upper if capitals else style)(word) for word, _ in drawn]
    lines = tuple(words) if random.random() < 0.5 else (" ".join(words),)
    return Writing(lines, "line", any(unseen for _, unseen in drawn))


def _draw_both(random: Random, split: Split, capitals: bool) -> Writing:
    word, unseen = draw_word(random, split)
    number = draw_number(random, split)
    shown = (_cased(random, word, capitals), number)
    return Writing(shown, "both", unseen or is_unseen_number(number))


def _cased(random: Random, word: str, capitals: bool) -> str:
    if capitals:
        return word.upper()
    return random.choice((word, word, word.capitalize(), word.upper()))


def _draw_plain(
    random: Random, ground: Ground, writing: Writing, face: Face
) -> tuple[tuple[Mark, ...], str | None]:
    """Write straight on the ground; the marks, and the colour's name if it has one."""
    image = ground.image
    name, ink = _ink(random, *ground.colours)
    size = _font_size(random, image.size, writing, face, image.width * 0.94, 0)
    pen, font = ImageDraw.Draw(image), face.at(size)
    width = max(font.getlength(line) for line in writing.lines)
    height = size * LEADING * len(writing.lines)
    x = random.uniform(width / 2 + 2, max(image.width - width / 2 - 2, width / 2 + 2))
    y = random.uniform(0, max(image.height - height, 0))
    marks: tuple[Mark, ...] = ()
    for row, line in enumerate(writing.lines):
        middle = y + size * LEADING * (row + 0.5)
        marks += write(pen, (round(x), round(middle)), line, font, ink)
    return _inked(marks, name), name


def _inked(marks: Iterable[Mark], name: str | None) -> tuple[Mark, ...]:
    return tuple(replace(mark, ink=name) for mark in marks)


def _font_size(
    random: Random, size: Size, writing: Writing, face: Face, width: float, pad: float
) -> int:
    """A font size at which the text fits, with `pad` of it to the left and right."""
    low, high = HARD_SIZES if random.random() < HARD else EASY_SIZES
    wanted = random.uniform(low, high) * max(size)
    tallest = 0.9 * size[1] / (LEADING * len(writing.lines) + pad)
    longest = max(writing.lines, key=lambda line: face.at(50).getlength(line))
    fitting = face.fitting(longest, width, min(wanted, tallest))
    share = width / (face.at(fitting).getlength(longest) + 2 * pad * fitting)
    return max(int(fitting * min(share, 1.0)), 4)


def _ink(random: Random, *grounds: Colour) -> tuple[str | None, Colour]:
    """A readable colour, preceded by its name, if it has one."""
    names = [
        name
        for name, colour in NAMED.items()
        if all(abs(light(colour) - light(ground)) > 80 for ground in grounds)
    ]
    if names and random.random() < 0.6:
        name = random.choice(names)
        return name, shade(random, name)
    return None, readable_on(random, *grounds)


def _draw_plate(
    random: Random, image: Image.Image, writing: Writing, face: Face
) -> tuple[tuple[Mark, ...], str | None]:
    slanted = random.random() < TILTED
    room = image.width * (0.84 if slanted else 0.94)
    size = _font_size(random, image.size, writing, face, room, PAD)
    plate, marks, name = _draw_sign(random, writing, face, size)
    center = (
        _between(random, plate.width, image.width),
        _between(random, plate.height, image.height),
    )
    if slanted:
        corners = tilted(random, plate.size, center)
        return paste_tilted(image, plate, marks, corners), name
    left, top = round(center[0] - plate.width / 2), round(center[1] - plate.height / 2)
    image.paste(plate, (left, top), plate)
    return tuple(mark.shifted(left, top) for mark in marks), name


def _draw_sign(
    random: Random, writing: Writing, face: Face, size: int
) -> tuple[Image.Image, tuple[Mark, ...], str | None]:
    font = face.at(size)
    pad = round(size * random.uniform(0.35, PAD))
    step = round(size * LEADING)
    width = round(max(font.getlength(line) for line in writing.lines)) + 2 * pad
    height = step * len(writing.lines) + 2 * (pad // 2)
    base = pale(random) if random.random() < 0.4 else any_colour(random)
    name, ink = _ink(random, base)
    plate = Image.new("RGBA", (width, height))
    pen = ImageDraw.Draw(plate)
    rim = random.choice((None, ink, readable_on(random, base)))
    pen.rounded_rectangle(
        (0, 0, width - 1, height - 1),
        radius=random.choice((0, size // 8, size // 3)),
        fill=base,
        outline=rim,
        width=max(size // 14, 1),
    )
    marks: tuple[Mark, ...] = ()
    for row, line in enumerate(writing.lines):
        middle = pad // 2 + round(step * (row + 0.5))
        marks += write(pen, (width // 2, middle), line, font, ink)
    return plate, _inked(marks, name), name


def _between(random: Random, inner: int, outer: int) -> float:
    free = max(outer - inner, 0) / 2
    return outer / 2 + random.uniform(-free, free) * 0.9


def draw_questions(
    random: Random, writing: Writing, colour: str | None, ending: str
) -> tuple[Question, ...]:
    """Ask for the text in one or two ways, for its colour and for single letters."""
    asked = [_ask_text(random, writing, ending)]
    if writing.what in ("number", "price", "time", "year"):
        asked.append(_ask_amount(random, writing, ending))
    if writing.what in ("word", "letters"):
        asked.append(_ask_letter(random, writing.text, ending))
    if writing.what == "line":
        asked.append(_ask_part(random, writing.text.split(), ending))
    if writing.what == "both":
        asked += _ask_both(random, writing.lines, ending)
    if colour is not None:
        asked.append(_ask_colour(random, colour))
    return tuple({one.text: one for one in asked}.values())


def _ask_text(random: Random, writing: Writing, ending: str) -> Question:
    ways = [
        "what is written?",
        "what does it say?",
        "what is written in the picture?",
        "read the text.",
        "what is the text?",
    ]
    if writing.what in ("word", "letters"):
        ways += ["what is the word?", "what word is written?", "read the word."]
    kind = f"text/{'line' if writing.what == 'both' else writing.what}{ending}"
    return ask(random, kind, ways, writing.text, f"It says {writing.text}.")


def _ask_amount(random: Random, writing: Writing, ending: str) -> Question:
    noun = writing.what if random.random() < 0.6 else "number"
    ways = [f"what is the {noun}?", f"what {noun} is shown?", f"read the {noun}."]
    ways += ["what time is it?"] if noun == "time" else []
    sentence = f"The {noun} is {writing.text}."
    return ask(random, f"text/{writing.what}{ending}", ways, writing.text, sentence)


def _ask_letter(random: Random, word: str, ending: str) -> Question:
    which = random.choice(("first", "last"))
    letter = word[0] if which == "first" else word[-1]
    ways = (f"what is the {which} letter?", f"which letter comes {which}?")
    sentence = f"The {which} letter is {letter}."
    return ask(random, f"text/letter{ending}", ways, letter, sentence)


def _ask_part(random: Random, words: Sequence[str], ending: str) -> Question:
    which, word = random.choice((("first", words[0]), ("last", words[-1])))
    ways = (f"what is the {which} word?", f"which word comes {which}?")
    sentence = f"The {which} word is {word}."
    return ask(random, f"text/part{ending}", ways, word, sentence)


def _ask_both(random: Random, lines: tuple[str, ...], ending: str) -> list[Question]:
    word, number = lines
    says = f"The word is {word}."
    ways = ("what is the word?", "which word is written?")
    of_word = ask(random, f"text/part{ending}", ways, word, says)
    says = f"The number is {number}."
    ways = ("what is the number?", "which number is written?")
    return [of_word, ask(random, f"text/part{ending}", ways, number, says)]


def _ask_colour(random: Random, colour: str) -> Question:
    ways = ("what color is the text?", "what is the color of the text?")
    return ask(random, "text/color", ways, colour, f"The text is {colour}.")


def _caption(writing: Writing, on_plate: bool, ending: str) -> Question:
    thing = "sign" if on_plate else "picture"
    sentence = f"A {thing} that says {writing.text}."
    return Question("Describe the picture.", sentence, f"captions/text{ending}")
