"""The receipts task: till receipts and small forms, lying on something."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw

from benchmarks.nano.tasks.asking import ask
from benchmarks.nano.tasks.camera import paste_tilted, tilted, wear
from benchmarks.nano.tasks.fonts import Face, draw_face
from benchmarks.nano.tasks.ground import draw_ground, draw_size
from benchmarks.nano.tasks.holdout import Split, draw_value, novelty, unseen_wanted
from benchmarks.nano.tasks.lettering import write
from benchmarks.nano.tasks.palette import dark, pale
from benchmarks.nano.tasks.scene import Ask, Mark, Scene
from benchmarks.nano.tasks.wording import (
    draw_price,
    draw_word,
    is_unseen_number,
    words,
)

SHOPS = ("Cafe", "Market", "Store", "Shop", "Bakery", "Books", "Hotel", "Bar", "Foods")
TOTALS = ("Total", "TOTAL", "Total:")
DATE, THANKS = "Date", "Thank you!"
FIELDS = ("Shop", "Company", "From")
HEADS = ("Invoice", "INVOICE", "Bill", "Order")
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
FORMS = 0.35  # Share of forms: a few named lines and no goods.
LEADING = 1.3
RIM = 1.0  # Around the text, in font sizes.
TILTED = 0.4

Row = tuple[str, str]
"""What stands on the left of a line and what on its right; alone if that is ""."""


@dataclass(frozen=True)
class Slip:
    """What a receipt or form says.

    Attributes:
        kind: "receipt" or "form".
        shop: who gave it out.
        date: as written.
        goods: of a receipt, names and prices.
        total: as written, without a currency.
        currency: what stands before the total, or "".
        unseen_shop: whether the shop's name holds a held-out word.
    """

    kind: str
    shop: str
    date: str
    goods: tuple[Row, ...]
    total: str
    currency: str
    unseen_shop: bool


def draw_receipt(random: Random, split: Split) -> Scene:
    """Draw a receipt or a form on a ground and ask what it says."""
    slip = draw_slip(random, split)
    face = draw_face(random, split, everyday=True)
    rows = _form_rows(random, slip) if slip.kind == "form" else _rows(random, slip)
    image, marks = _draw_picture(random, rows, face)
    asked = draw_questions(random, slip, face.unseen)
    return Scene(wear(random, image), asked, marks)


def draw_slip(random: Random, split: Split) -> Slip:
    """Draw what a receipt or form says; a receipt's prices add up to its total."""
    word, unseen_shop = draw_word(random, split)
    style = random.choice((str.title, str.title, str.upper))
    shop = style(f"{word} {random.choice(SHOPS)}")
    kind = "form" if random.random() < FORMS else "receipt"
    unseen = unseen_wanted(random, split)
    number = random.choice((2, 2, 3))
    names = random.sample([one for one in words(False) if len(one) <= 6], number)

    def goods() -> tuple[Row, ...]:
        return tuple((name, draw_price(random, "train")) for name in names)

    bought = draw_value(goods, unseen, lambda rows: is_unseen_number(_sum(rows)))
    currency = random.choice(("", "", "$", "€", "£"))
    date = _draw_date(random, split)
    return Slip(kind, shop, date, bought, _sum(bought), currency, unseen_shop)


def _sum(goods: Sequence[Row]) -> str:
    """Add up prices: in cents, since they are decimal."""
    cents = sum(int(price.replace(".", "")) for _, price in goods)
    return f"{cents // 100}.{cents % 100:02d}"


def _draw_date(random: Random, split: Split) -> str:
    style = random.randrange(4)

    def date() -> str:
        year, month = random.randint(2015, 2030), random.randint(1, 12)
        day = random.randint(1, 28)
        return (
            f"{year}-{month:02d}-{day:02d}",
            f"{day:02d}.{month:02d}.{year}",
            f"{month:02d}/{day:02d}/{year}",
            f"{day} {MONTHS[month - 1]} {year}",
        )[style]

    return draw_value(date, unseen_wanted(random, split), is_unseen_number)


def _rows(random: Random, slip: Slip) -> list[Row]:
    """Lay out a receipt: shop, date, goods and total, each where receipts have it."""
    style = random.choice((str.lower, str.capitalize, str.upper))
    goods = [(style(name), price) for name, price in slip.goods]
    dated = random.choice(((slip.date, ""), (DATE, slip.date)))
    total = (random.choice(TOTALS), slip.currency + slip.total)
    first: list[Row] = [(slip.shop, "")]
    last: list[Row] = [dated] if random.random() < 0.3 else []
    first += [] if last else [dated]
    thanks: list[Row] = [(THANKS, "")] if random.random() < 0.3 else []
    return [*first, ("-", ""), *goods, ("-", ""), total, *last, *thanks]


def _form_rows(random: Random, slip: Slip) -> list[Row]:
    """Lay out a form: named lines in any order."""
    end = random.choice(("", ":"))
    rows = [
        (random.choice(FIELDS) + end, slip.shop),
        (DATE + end, slip.date),
        (random.choice(TOTALS[:2]) + end, slip.currency + slip.total),
    ]
    random.shuffle(rows)
    head = random.choice((*HEADS, ""))
    return [(head, ""), ("-", ""), *rows] if head else rows


def _draw_picture(
    random: Random, rows: Sequence[Row], face: Face
) -> tuple[Image.Image, tuple[Mark, ...]]:
    """Draw the paper as large as the picture allows, perhaps at an angle."""
    size = draw_size(random)
    if (size[0] > size[1]) == (len(rows) > 5):  # Long slips lie in tall pictures.
        size = size[1], size[0]
    base = dark(random) if random.random() < 0.4 else None
    image = draw_ground(random, size, base).image
    text = _text_size(random, size, rows, face)
    paper, marks = _draw_paper(random, rows, face, text)
    free = max(size[0] - paper.width, 0), max(size[1] - paper.height, 0)
    left, top = (round(random.uniform(0.2, 0.8) * space) for space in free)
    if random.random() < TILTED:
        center = left + paper.width / 2, top + paper.height / 2
        corners = tilted(random, (paper.width * 0.9, paper.height * 0.9), center)
        return image, paste_tilted(image, paper, marks, corners)
    image.paste(paper, (left, top), paper)
    return image, tuple(mark.shifted(left, top) for mark in marks)


def _text_size(
    random: Random, size: tuple[int, int], rows: Sequence[Row], face: Face
) -> int:
    """Return the font size at which the paper nearly fills the picture."""
    across = size[0] / (_widest(rows, face) + 2 * RIM)
    down = size[1] / (len(rows) * LEADING + 2 * RIM)
    return max(int(min(across, down, size[0] / 10) * random.uniform(0.85, 1.0)), 6)


def _widest(rows: Sequence[Row], face: Face) -> float:
    """Return the length of the longest row, in font sizes."""
    font = face.at(100)
    gaps = [1.8 if right else 0.0 for _, right in rows]
    lengths = [font.getlength(left + right) / 100 for left, right in rows]
    return max(gap + length for gap, length in zip(gaps, lengths, strict=True))


def _draw_paper(
    random: Random, rows: Sequence[Row], face: Face, text: int
) -> tuple[Image.Image, list[Mark]]:
    """Draw the paper (RGBA) and its rows."""
    width = round((_widest(rows, face) + 2 * RIM) * text)
    height = round((len(rows) * LEADING + 2 * RIM) * text)
    paper = Image.new("RGBA", (width, height), pale(random))
    pen, font, ink = ImageDraw.Draw(paper), face.at(text), dark(random)
    left, right = round(RIM * text), round(width - RIM * text)
    centered = random.random() < 0.6
    marks: list[Mark] = []
    for place, (start, end) in enumerate(rows):
        y = round((RIM + LEADING * (place + 0.5)) * text)
        if start == "-":
            pen.line((left, y, right, y), ink, max(text // 12, 1))
        elif end:
            marks += write(pen, (left, y), start, font, ink, "lm")
            marks += write(pen, (right, y), end, font, ink, "rm")
        elif centered:
            marks += write(pen, (width // 2, y), start, font, ink, "mm")
        else:
            marks += write(pen, (left, y), start, font, ink, "lm")
    return paper, marks


def draw_questions(random: Random, slip: Slip, unseen_font: bool) -> tuple[Ask, ...]:
    """Ask for the total, the date, the shop and a price."""
    ending = novelty(is_unseen_number(slip.total), unseen_font)
    total = slip.currency + slip.total
    ways: tuple[str, ...] = ("what is the total?", "how much is the total?")
    if slip.kind == "receipt":
        ways += ("what does it cost in total?",)
    sentence = f"The total is {total}."
    asked = [ask(random, f"receipts/total{ending}", ways, total, sentence)]
    ending = novelty(is_unseen_number(slip.date), unseen_font)
    ways = ("what is the date?", f"what is the date of the {slip.kind}?")
    sentence = f"The date is {slip.date}."
    asked.append(ask(random, f"receipts/date{ending}", ways, slip.date, sentence))
    ending = novelty(slip.unseen_shop, unseen_font)
    ways = ("what is the name of the shop?", f"who is the {slip.kind} from?")
    sentence = f"It is from {slip.shop}."
    asked.append(ask(random, f"receipts/shop{ending}", ways, slip.shop, sentence))
    if slip.kind == "receipt":
        asked.append(_ask_price(random, slip, novelty(False, unseen_font)))
    sentence = f"A {slip.kind} from {slip.shop}."
    caption = Ask("Describe the picture.", sentence, f"captions/receipts{ending}")
    return (*asked, caption)


def _ask_price(random: Random, slip: Slip, ending: str) -> Ask:
    name, price = random.choice(slip.goods)
    ways = (f"what is the price of {name}?", f"how much is {name}?")
    sentence = f"The price of {name} is {price}."
    return ask(random, f"receipts/price{ending}", ways, price, sentence)
