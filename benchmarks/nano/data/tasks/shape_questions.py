"""What is asked about figures; every answer follows from the figures themselves."""

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

from .canvas import Size, ninth
from .figures import SHAPES, Figure
from .holdout import Split
from .palette import NAMED
from .scene import Question
from .wording import COUNTS, ask, capitalized, listed, with_article

# Questions drawn for an image; some do not apply or come twice. Training draws more and
# asks mostly those that are learned slowly (`loader.choose`).
ASKED = {"train": 24, "test": 16}
CLEAR = 0.12  # what is left of another is so at least by this share of the image
BIGGER = 1.35  # a bigger figure is at least this many times as wide
CAPTION_MOST = 4  # images with more figures are not described

Figures = Sequence[Figure]
Maybe = Question | None
Asker = Callable[[Random, Figures, Size, str], Maybe]


def draw_questions(
    random: Random, figures: Figures, size: Size, ending: str, split: Split
) -> tuple[Question, ...]:
    """Draw questions of kinds with this ending, and a request for a description."""
    askers = random.choices(tuple(ASKERS), tuple(ASKERS.values()), k=ASKED[split])
    drawn = [asker(random, figures, size, ending) for asker in askers]
    drawn += [_exists(random, figures, size, ending)] if not any(drawn) else []
    drawn += [describe(figures, size, ending)]
    return tuple({one.text: one for one in drawn if one is not None}.values())


def _colour(random: Random, figures: Figures, size: Size, ending: str) -> Maybe:
    figure = random.choice(figures)
    alike = [one for one in figures if one.shape == figure.shape]
    if len({one.colour for one in alike}) > 1:
        return None
    noun = figure.shape
    if len(figures) == 1 and random.random() < 0.4:
        noun = random.choice(("shape", "object"))
    if len(alike) > 1:
        ways: tuple[str, ...] = (f"what color are the {_plural(noun)}?",)
        sentence = f"The {_plural(noun)} are {figure.colour}."
    else:
        ways = (
            f"what color is the {noun}?",
            f"what is the color of the {noun}?",
            f"which color does the {noun} have?",
        )
        sentence = f"The {noun} is {figure.colour}."
    return ask(random, f"shapes/color{ending}", ways, figure.colour, sentence)


def _shape(random: Random, figures: Figures, size: Size, ending: str) -> Maybe:
    figure = random.choice(figures)
    if len(figures) == 1 and random.random() < 0.5:
        ways = (
            "what shape is in the image?",
            "what shape does the image contain?",
            "what shape is present?",
            "what is the shape?",
            "which shape is this?",
        )
        sentence = f"It is {with_article(figure.shape)}."
        return ask(random, f"shapes/shape{ending}", ways, figure.shape, sentence)
    if [one.colour for one in figures].count(figure.colour) > 1:
        return None
    of_colour = (
        f"what is the {figure.colour} shape?",
        f"what shape is {figure.colour}?",
        f"what shape is the {figure.colour} object?",
    )
    sentence = f"The {figure.colour} shape is {with_article(figure.shape)}."
    return ask(random, f"shapes/shape{ending}", of_colour, figure.shape, sentence)


def _count(random: Random, figures: Figures, size: Size, ending: str) -> Question:
    figure = random.choice(figures)
    which = random.random()
    if which < 0.35:
        noun, number = random.choice(("shape", "object")), len(figures)
    elif which < 0.6:
        noun = figure.shape
        number = sum(one.shape == noun for one in figures)
    elif which < 0.8:
        noun = f"{figure.colour} {random.choice(('shape', 'object'))}"
        number = sum(one.colour == figure.colour for one in figures)
    else:
        noun = _any_name(random) if random.random() < 0.25 else figure.name
        number = sum(one.name == noun for one in figures)
    many = _plural(noun)
    ways = (
        f"how many {many} are there?",
        f"how many {many} are in the picture?",
        f"how many {many} do you see?",
        f"count the {many}.",
    )
    sentence = f"There are {COUNTS[number]} {many}."
    if number == 1:
        sentence = f"There is one {noun}."
    return ask(random, f"shapes/count{ending}", ways, str(number), sentence)


def _place(random: Random, figures: Figures, size: Size, ending: str) -> Maybe:
    figure = _unique(random, figures)
    place = None if figure is None else ninth(figure.centre, size)
    if figure is None or place is None:
        return None
    noun = _short_name(random, figure, figures)
    ways = (
        f"where is the {noun}?",
        f"where in the picture is the {noun}?",
        f"in which part of the picture is the {noun}?",
    )
    sentence = f"The {noun} is {_in_place(place)}."
    return ask(random, f"shapes/position{ending}", ways, place, sentence)


def _in_place(place: str) -> str:
    if place in ("left", "right"):
        return f"on the {place}"
    return "in the middle" if place == "middle" else f"at the {place}"


def _relation(random: Random, figures: Figures, size: Size, ending: str) -> Maybe:
    one, other = _unique(random, figures), _unique(random, figures)
    if one is None or other is None or one.name == other.name:
        return None
    axis = random.randrange(2)
    apart = (one.centre[axis] - other.centre[axis]) / size[axis]
    if abs(apart) < CLEAR:
        return None
    before, after = (("left of", "right of"), ("above", "below"))[axis]
    true = before if apart < 0 else after
    said = random.choice((before, after))
    answer = "yes" if said == true else "no"
    ways = (f"is the {one.name} {said} the {other.name}?",)
    sentence = f"{answer.capitalize()}, the {one.name} is {true} the {other.name}."
    return ask(random, f"shapes/position-yes-no{ending}", ways, answer, sentence)


def _bigger(random: Random, figures: Figures, size: Size, ending: str) -> Maybe:
    one, other = _unique(random, figures), _unique(random, figures)
    if one is None or other is None or one.name == other.name:
        return None
    if max(one.extent, other.extent) < BIGGER * min(one.extent, other.extent):
        return None
    word = random.choice(("bigger", "smaller"))
    wanted = one if (one.extent > other.extent) == (word == "bigger") else other
    ways = (
        f"which is {word}, the {one.name} or the {other.name}?",
        f"what is {word}: the {one.name} or the {other.name}?",
    )
    sentence = f"The {wanted.name} is {word}."
    return ask(random, f"shapes/compare{ending}", ways, wanted.name, sentence)


def _biggest(random: Random, figures: Figures, size: Size, ending: str) -> Maybe:
    ordered = sorted(figures, key=lambda one: one.extent)
    if len(figures) < 2:
        return None
    word, first, second = random.choice(
        (("biggest", ordered[-1], ordered[-2]), ("smallest", ordered[0], ordered[1]))
    )
    sizes = sorted((first.extent, second.extent))
    if sizes[1] < BIGGER * sizes[0]:
        return None
    ways = (f"what is the {word} shape?", f"which shape is the {word}?")
    sentence = f"The {first.name} is the {word}."
    return ask(random, f"shapes/compare{ending}", ways, first.name, sentence)


def _exists(random: Random, figures: Figures, size: Size, ending: str) -> Question:
    """Ask whether something is there, half the time truly, sometimes negated."""
    figure = random.choice(figures)
    colour, shape = figure.colour, figure.shape
    if random.random() < 0.5:
        colour, shape = _any_name(random).split()
        near = random.random()  # half true is the hardest, so it is asked most
        colour = figure.colour if near < 0.35 else colour
        shape = figure.shape if 0.35 <= near < 0.7 else shape
    noun, there = random.choice(
        (
            (f"{colour} shape", any(one.colour == colour for one in figures)),
            (shape, any(one.shape == shape for one in figures)),
            (
                f"{colour} {shape}",
                any(one.name == f"{colour} {shape}" for one in figures),
            ),
        )
    )
    ways, negated = _exist_ways(random, noun)
    answer = "yes" if there != negated else "no"
    fact = f"there is {with_article(noun) if there else f'no {noun}'}"
    sentence = f"{answer.capitalize()}, {fact}."
    return ask(random, f"shapes/yes-no{ending}", ways, answer, sentence)


def _exist_ways(random: Random, noun: str) -> tuple[tuple[str, ...], bool]:
    """Phrasings, and whether they are negated, as half of easy-vqa's are."""
    a_noun = with_article(noun)
    if random.random() < 0.7:
        return (
            f"is there {a_noun}?",
            f"is there {a_noun} in the image?",
            f"does the image contain {a_noun}?",
            f"is {a_noun} present?",
            f"do you see {a_noun}?",
        ), False
    return (
        f"is there not {a_noun}?",
        f"is there not {a_noun} in the image?",
        f"does the image not contain {a_noun}?",
        f"is no {noun} present?",
    ), True


def describe(figures: Figures, size: Size, ending: str) -> Maybe:
    """Describe up to four figures from left to right, where that order is clear."""
    ordered = sorted(figures, key=lambda one: one.centre[0])
    names = list(dict.fromkeys(one.name for one in ordered))
    firsts = [next(o for o in ordered if o.name == name) for name in names]
    gaps = [b.centre[0] - a.centre[0] for a, b in zip(firsts, firsts[1:], strict=False)]
    if len(figures) > CAPTION_MOST or any(gap < CLEAR * size[0] / 2 for gap in gaps):
        return None
    numbers = Counter(one.name for one in figures)
    parts = [_several(name, numbers[name]) for name in names]
    sentence = capitalized(listed(parts)) + "."
    return Question("Describe the picture.", sentence, f"captions/shapes{ending}")


def _several(name: str, number: int) -> str:
    return with_article(name) if number == 1 else f"{COUNTS[number]} {_plural(name)}"


def _unique(random: Random, figures: Figures) -> Figure | None:
    """A figure with a colour and shape that no other has."""
    numbers = Counter(one.name for one in figures)
    alone = [one for one in figures if numbers[one.name] == 1]
    return random.choice(alone) if alone else None


def _short_name(random: Random, figure: Figure, figures: Figures) -> str:
    """Its shape alone where that is enough, half the time; else colour and shape."""
    same = sum(one.shape == figure.shape for one in figures)
    return figure.shape if same == 1 and random.random() < 0.5 else figure.name


def _any_name(random: Random) -> str:
    return f"{random.choice(tuple(NAMED))} {random.choice(SHAPES)}"


def _plural(noun: str) -> str:
    return f"{noun}es" if noun.endswith(("s", "x")) else f"{noun}s"


ASKERS: dict[Asker, int] = {
    _colour: 4,
    _shape: 4,
    _count: 6,
    _place: 6,
    _relation: 4,
    _bigger: 4,
    _biggest: 3,
    _exists: 4,
}
