"""Empty pictures to draw on: their sizes and their grounds."""

from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image

from benchmarks.nano.tasks.palette import Color, any_color, jitter, pale

Size = tuple[int, int]
"""Width and height in pixels."""

SMALLEST, LARGEST = 160, 640


@dataclass(frozen=True)
class Ground:
    """An empty picture.

    Attributes:
        image: RGB.
        colors: colours that occur in it; what is drawn must differ from these.
    """

    image: Image.Image
    colors: tuple[Color, ...]


def draw_size(random: Random) -> Size:
    """Draw a picture's size: half of them square, the others up to twice as wide.

    Small ones are more frequent, since most training is at low resolutions.
    """
    long = round(SMALLEST * (LARGEST / SMALLEST) ** (random.random() ** 1.6))
    if random.random() < 0.5:
        return long, long
    short = round(long / random.uniform(1.15, 2.1))
    return (long, short) if random.random() < 0.6 else (short, long)


def draw_ground(random: Random, size: Size, base: Color | None = None) -> Ground:
    """Draw a plain, graded, clouded or grainy ground.

    Args:
        random: the source of every choice.
        size: width and height.
        base: its main colour; any, mostly pale, if not given.
    """
    if base is None:
        base = pale(random) if random.random() < 0.5 else any_color(random)
    kind = random.random()
    if kind < 0.45:
        return Ground(Image.new("RGB", size, base), (base,))
    if kind < 0.7:
        return _graded(random, size, base)
    if kind < 0.85:
        return _clouded(random, size, base)
    return Ground(add_grain(random, Image.new("RGB", size, base), 14), (base,))


def _graded(random: Random, size: Size, base: Color) -> Ground:
    """Fade from the base colour to a near one, in one of four directions."""
    other = jitter(random, base, 55)
    ramp = Image.linear_gradient("L").rotate(random.choice((0, 90, 180, 270)))
    whole = Image.composite(
        Image.new("RGB", size, base), Image.new("RGB", size, other), ramp.resize(size)
    )
    return Ground(whole, (base, other))


def _clouded(random: Random, size: Size, base: Color) -> Ground:
    """Blend few near colours softly, like something far out of focus."""
    cells = random.randint(3, 7)
    colors = [jitter(random, base, 40) for _ in range(cells * cells)]
    small = Image.new("RGB", (cells, cells))
    small.putdata(colors)
    return Ground(small.resize(size, Image.Resampling.BICUBIC), tuple(colors))


def add_grain(random: Random, image: Image.Image, strength: float) -> Image.Image:
    """Add grey noise of the given standard deviation (of 255) to a picture."""
    generator = np.random.default_rng(random.getrandbits(64))
    pixels = np.asarray(image, dtype=np.float32)
    grain = generator.standard_normal(pixels.shape[:2], dtype=np.float32) * strength
    return Image.fromarray(np.clip(pixels + grain[..., None], 0, 255).astype(np.uint8))
