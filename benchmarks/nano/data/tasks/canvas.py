"""What figures and texts are drawn on: sizes, grounds, tilted plates, blur, JPEG."""

import io
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageEnhance, ImageFilter

from .palette import Colour, any_colour, jitter, pale
from .scene import Box, Mark, Point

Size = tuple[int, int]
"""Width and height in pixels."""

Corners = tuple[Point, Point, Point, Point]
"""Top left, top right, bottom right, bottom left, in pixels."""

SMALLEST, LARGEST = 160, 640

NINTHS = (
    *("top left", "top", "top right"),
    *("left", "middle", "right"),
    *("bottom left", "bottom", "bottom right"),
)
UNCLEAR = 0.05  # closer to a border between ninths than this share of the image


@dataclass(frozen=True)
class Ground:
    """An empty image (RGB), and the colours that must contrast with what is drawn."""

    image: Image.Image
    colours: tuple[Colour, ...]


def ninth(point: Point, size: Size) -> str | None:
    """The ninth of the image that holds a point, or None near a border of two."""
    x, y = point[0] / size[0], point[1] / size[1]
    if any(abs(at - edge) < UNCLEAR for at in (x, y) for edge in (1 / 3, 2 / 3)):
        return None
    return NINTHS[3 * int(y * 3) + int(x * 3)]


def draw_size(random: Random) -> Size:
    """Half are square, the others up to 2.1 times as wide or high; most are small."""
    long = round(SMALLEST * (LARGEST / SMALLEST) ** (random.random() ** 1.6))
    if random.random() < 0.5:
        return long, long
    short = round(long / random.uniform(1.15, 2.1))
    return (long, short) if random.random() < 0.6 else (short, long)


def draw_ground(random: Random, size: Size, base: Colour | None = None) -> Ground:
    """A plain, graded, clouded or grainy ground of a base colour, by default any."""
    if base is None:
        base = pale(random) if random.random() < 0.5 else any_colour(random)
    kind = random.random()
    if kind < 0.45:
        return Ground(Image.new("RGB", size, base), (base,))
    if kind < 0.7:
        return _graded(random, size, base)
    if kind < 0.85:
        return _clouded(random, size, base)
    return Ground(_add_grain(random, Image.new("RGB", size, base), 14), (base,))


def _graded(random: Random, size: Size, base: Colour) -> Ground:
    other = jitter(random, base, 55)
    ramp = Image.linear_gradient("L").rotate(random.choice((0, 90, 180, 270)))
    whole = Image.composite(
        Image.new("RGB", size, base), Image.new("RGB", size, other), ramp.resize(size)
    )
    return Ground(whole, (base, other))


def _clouded(random: Random, size: Size, base: Colour) -> Ground:
    cells = random.randint(3, 7)
    colours = [jitter(random, base, 40) for _ in range(cells * cells)]
    small = Image.new("RGB", (cells, cells))
    small.putdata(colours)
    return Ground(small.resize(size, Image.Resampling.BICUBIC), tuple(colours))


def _add_grain(random: Random, image: Image.Image, strength: float) -> Image.Image:
    """Add grey noise of a standard deviation, in levels of 255."""
    generator = np.random.default_rng(random.getrandbits(64))
    pixels = np.asarray(image, dtype=np.float32)
    grain = generator.standard_normal(pixels.shape[:2], dtype=np.float32) * strength
    return Image.fromarray(np.clip(pixels + grain[..., None], 0, 255).astype(np.uint8))


def wear(random: Random, image: Image.Image) -> Image.Image:
    """Degrade two images in five like a camera or a messenger; marks stay valid."""
    if random.random() < 0.6:
        return image
    long = max(image.size)
    if random.random() < 0.35:
        radius = random.uniform(0.3, 1.0) * long / 320
        image = image.filter(ImageFilter.GaussianBlur(radius))
    if random.random() < 0.3:
        image = ImageEnhance.Brightness(image).enhance(random.uniform(0.75, 1.15))
    if random.random() < 0.3:
        image = _shaded(random, image)
    if random.random() < 0.25:
        image = _add_grain(random, image, random.uniform(3, 12))
    return _through_jpeg(image, random.randint(35, 90))


def _shaded(random: Random, image: Image.Image) -> Image.Image:
    darkest = random.randint(140, 220)
    ramp = Image.linear_gradient("L").point(
        lambda v: darkest + v * (255 - darkest) // 255
    )
    ramp = ramp.rotate(random.choice((0, 90, 180, 270))).resize(image.size)
    return ImageChops.multiply(image, ramp.convert("RGB"))


def _through_jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    with Image.open(file, formats=["JPEG"]) as opened:
        return opened.convert("RGB")


def tilted(random: Random, size: tuple[float, float], centre: Point) -> Corners:
    """The corners of a plate of a size, turned and in perspective, about a centre."""
    angle = math.radians(random.uniform(-9, 9))
    lean = random.uniform(0, 0.06)
    corners = []
    for sign_x, sign_y in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        x = sign_x * size[0] / 2 * (1 - random.uniform(0, lean))
        y = sign_y * size[1] / 2 * (1 - random.uniform(0, lean))
        turned_x = x * math.cos(angle) - y * math.sin(angle)
        turned_y = x * math.sin(angle) + y * math.cos(angle)
        corners.append((centre[0] + turned_x, centre[1] + turned_y))
    return corners[0], corners[1], corners[2], corners[3]


def paste_tilted(
    image: Image.Image, plate: Image.Image, marks: Iterable[Mark], corners: Corners
) -> tuple[Mark, ...]:
    """Paste a plate (RGBA) into the image, in place, its corners at the given points.

    Returns:
        The plate's marks in the image's pixels.
    """
    left, top = (math.floor(min(point[i] for point in corners)) for i in (0, 1))
    right, bottom = (math.ceil(max(point[i] for point in corners)) for i in (0, 1))
    outline = _outline(plate.size)
    local = [(x - left, y - top) for x, y in corners]
    seen = plate.transform(
        (max(right - left, 1), max(bottom - top, 1)),
        Image.Transform.PERSPECTIVE,
        tuple(_projection(local, outline).flatten()[:8]),
        Image.Resampling.BICUBIC,
    )
    image.paste(seen, (left, top), seen)
    forward = _projection(outline, corners)
    return tuple(replace(mark, box=_moved(mark, forward)) for mark in marks)


def _outline(size: Size) -> list[Point]:
    width, height = size
    return [(0, 0), (width, 0), (width, height), (0, height)]


def _projection(
    sources: Iterable[Point], targets: Iterable[Point]
) -> NDArray[np.float64]:
    """Solve for the 3 x 3 matrix that maps four points to four others."""
    rows, values = [], []
    for (x, y), (u, v) in zip(sources, targets, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
        values += [u, v]
    solved = np.linalg.solve(np.array(rows, float), np.array(values, float))
    return np.append(solved, 1.0).reshape(3, 3)


def _moved(mark: Mark, matrix: NDArray[np.float64]) -> Box:
    left, top, right, bottom = mark.box
    box = np.array(
        [[left, right, right, left], [top, top, bottom, bottom], [1, 1, 1, 1]]
    )
    x, y, scale = matrix @ box
    x, y = x / scale, y / scale
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())
