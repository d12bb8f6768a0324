"""The shapes task: up to six coloured figures, in an image of any proportions."""

from collections import Counter
from collections.abc import Sequence
from random import Random

from .canvas import Ground, Size, draw_ground, draw_size, wear
from .figures import EASY as EASY_SHAPES
from .figures import SHAPES, Figure, draw_figure
from .holdout import Split, draw_value, held_out, novelty, unseen_wanted
from .palette import EASY, NAMED, Colour, distance, names_on, pale, readable_on, shade
from .scene import Box, Mark, Scene
from .shape_questions import draw_questions

Kind = tuple[str, str]
"""A colour's and a shape's name."""

# The share of images like easy-vqa's, with one figure on a pale ground, and how often
# the others show one figure, two ... Training has more of what is learned slowly.
SIMPLE = {"train": 0.1, "test": 0.25}
COUNTS = {"train": (8, 20, 20, 18, 17, 17), "test": (26, 24, 18, 13, 10, 9)}
GAP = 0.03  # least distance of two figures, as a share of the longer side


def draw_shapes(random: Random, split: Split) -> Scene:
    """Draw an image of figures and ask about them."""
    simple = random.random() < SIMPLE[split]
    size = _simple_size(random) if simple else draw_size(random)
    ground = draw_ground(random, size, pale(random) if simple else None)
    names = names_on(ground.colours, EASY if simple else tuple(NAMED))
    shapes = EASY_SHAPES if simple else SHAPES
    number = 1 if simple else random.choices(range(1, 7), COUNTS[split])[0]
    unseen = unseen_wanted(random, split)

    def kinds() -> list[Kind]:
        return _draw_kinds(random, names, shapes, number)

    drawn = draw_value(kinds, unseen, is_unseen)
    figures = _arrange(random, size, drawn)
    for figure in figures:
        draw_figure(ground.image, figure, _rim(random, ground, figure))
    # Where figures found no room, the combination may be another than was drawn.
    new = is_unseen([(one.colour, one.shape) for one in figures])
    if new and split == "train":
        return draw_shapes(random, split)
    asked = draw_questions(random, figures, size, novelty(new), split)
    marks = tuple(Mark(figure.name, figure.box) for figure in figures)
    return Scene(wear(random, ground.image), asked, marks)


def is_unseen(kinds: Sequence[Kind]) -> bool:
    """Whether a colour, a shape and their number in the image are held out."""
    return any(held_out(*kind, number) for kind, number in Counter(kinds).items())


def _simple_size(random: Random) -> Size:
    """Many simple images are as small as easy-vqa's, which look soft enlarged."""
    return (64, 64) if random.random() < 0.4 else draw_size(random)


def _draw_kinds(
    random: Random, names: Sequence[str], shapes: Sequence[str], number: int
) -> list[Kind]:
    """Draw kinds, some of them repeatedly, so that there is something to count."""
    kinds: list[Kind] = []
    for _ in range(number):
        colour, shape = random.choice(names), random.choice(shapes)
        like = random.choice(kinds) if kinds else (colour, shape)
        repeated = random.random()
        if repeated < 0.3:
            colour, shape = like
        elif repeated < 0.45:
            shape = like[1]
        elif repeated < 0.6:
            colour = like[0]
        kinds.append((colour, shape))
    return kinds


def _arrange(random: Random, size: Size, kinds: Sequence[Kind]) -> list[Figure]:
    figures: list[Figure] = []
    for colour, shape in kinds:
        box = _find_room(random, size, shape, len(kinds), [one.box for one in figures])
        if box is not None:
            turn = _draw_turn(random, shape)
            figures.append(Figure(colour, shape, shade(random, colour), box, turn))
    return figures


def _draw_turn(random: Random, shape: str) -> float:
    """Degrees that a figure is turned; a turned rectangle would become a rhomboid."""
    turn = random.uniform(-12, 12) if random.random() < 0.4 else 0.0
    if shape == "triangle":
        turn += random.choice((0, 180))
    return 0.0 if shape == "rectangle" else turn


def _find_room(
    random: Random, size: Size, shape: str, number: int, taken: Sequence[Box]
) -> Box | None:
    short, long = min(size), max(size)
    gap = GAP * long
    largest = 0.75 * short if number == 1 else 0.62 * (short * long / number) ** 0.5
    for attempt in range(60):
        side = random.uniform(0.13 * long, max(0.17 * long, largest))
        side = min(side, 0.8 * short) * 0.99**attempt
        width, height = _proportions(random, shape, side)
        left = random.uniform(0, size[0] - width)
        top = random.uniform(0, size[1] - height)
        box = (left, top, left + width, top + height)
        if not any(_touch(box, other, gap) for other in taken):
            return box
    return None


def _proportions(random: Random, shape: str, side: float) -> tuple[float, float]:
    """A width and a height: a rectangle is clearly no square."""
    if shape == "rectangle":
        thin = side / random.uniform(1.45, 2.4)
        return (side, thin) if random.random() < 0.6 else (thin, side)
    if shape in ("triangle", "diamond"):
        return side, side * random.uniform(0.85, 1.0)
    return side, side


def _touch(one: Box, other: Box, gap: float) -> bool:
    apart_x = one[0] > other[2] + gap or other[0] > one[2] + gap
    apart_y = one[1] > other[3] + gap or other[1] > one[3] + gap
    return not (apart_x or apart_y)


def _rim(random: Random, ground: Ground, figure: Figure) -> Colour | None:
    """A dark or light rim for one figure in six, where it stands out."""
    if random.random() > 1 / 6 or figure.extent < 24 or figure.shape == "ring":
        return None
    rim = readable_on(random, *ground.colours[:1])
    dull = max(rim) - min(rim) < 60  # a bright rim would be a second colour to name
    return rim if dull and distance(rim, figure.fill) > 90 else None
