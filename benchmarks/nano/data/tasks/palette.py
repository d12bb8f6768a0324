"""Named colours, and how far a colour may vary and keep its name."""

from collections.abc import Sequence
from random import Random

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

# easy-vqa's eight names come first, so that both data sets use the same words.
NAMED: dict[str, Colour] = {
    "black": (12, 12, 12),
    "blue": (25, 55, 225),
    "brown": (125, 72, 25),
    "gray": (128, 128, 128),
    "green": (25, 150, 45),
    "red": (225, 25, 30),
    "teal": (10, 135, 135),
    "yellow": (248, 225, 25),
    "orange": (255, 140, 0),
    "purple": (125, 35, 165),
    "pink": (255, 125, 190),
    "white": (248, 248, 248),
}
EASY = tuple(NAMED)[:8]
WOBBLE = 12  # variation per channel under which the name stays clear
APART = 190  # city-block distance at which a colour stands out from its ground


def shade(random: Random, name: str) -> Colour:
    """A colour that people would still call `name`."""
    return jitter(random, NAMED[name], WOBBLE)


def jitter(random: Random, colour: Colour, amount: int) -> Colour:
    """Move each channel of a colour by up to `amount`."""
    red, green, blue = (_clip(c + random.randint(-amount, amount)) for c in colour)
    return red, green, blue


def any_colour(random: Random) -> Colour:
    """Any colour at all."""
    return random.randrange(256), random.randrange(256), random.randrange(256)


def pale(random: Random) -> Colour:
    """A light colour, as of paper."""
    low = random.choice((205, 225, 240))
    return random.randint(low, 255), random.randint(low, 255), random.randint(low, 255)


def dark(random: Random) -> Colour:
    """A dark colour, as of a blackboard."""
    return random.randint(8, 60), random.randint(8, 60), random.randint(8, 70)


def distance(one: Colour, other: Colour) -> int:
    """The city-block distance of two colours, 0 to 765."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True))


def readable_on(random: Random, *grounds: Colour) -> Colour:
    """A colour whose lightness differs from that of every ground."""
    lightness = [light(ground) for ground in grounds]
    middle = sum(lightness) / len(lightness)
    drawn = [any_colour(random) for _ in range(6)]
    drawn += [dark(random) if middle > 110 else pale(random)]
    for colour in drawn:
        if all(abs(light(colour) - ground) > 90 for ground in lightness):
            return colour
    return drawn[-1]


def light(colour: Colour) -> float:
    """The lightness of a colour, 0 to 255 (ITU-R BT.601 weights)."""
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue


def names_on(grounds: Sequence[Colour], names: Sequence[str]) -> list[str]:
    """Those of the named colours that stand out from every ground."""
    return [
        name
        for name in names
        if all(distance(NAMED[name], ground) > APART for ground in grounds)
    ]


def _clip(value: int) -> int:
    return min(max(value, 0), 255)
