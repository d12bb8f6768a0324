"""What happens to a picture between the scene and the file: tilt, blur, grain, JPEG."""

import io
import math
from collections.abc import Iterable
from dataclasses import replace
from random import Random

import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageFilter

from benchmarks.nano.tasks.ground import add_grain
from benchmarks.nano.tasks.scene import Mark

Point = tuple[float, float]
Corners = tuple[Point, Point, Point, Point]
"""Top left, top right, bottom right, bottom left, in pixels."""


def wear(random: Random, image: Image.Image) -> Image.Image:
    """Return the picture as a camera, a messenger or a scanner would leave it.

    Three pictures in five stay as drawn. Nothing moves, so marks stay true.
    """
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
        image = add_grain(random, image, random.uniform(3, 12))
    return _through_jpeg(image, random.randint(35, 90))


def _shaded(random: Random, image: Image.Image) -> Image.Image:
    """Darken the picture towards one side, as a lamp or a window leaves it."""
    darkest = random.randint(140, 220)
    ramp = Image.linear_gradient("L").point(
        lambda v: darkest + v * (255 - darkest) // 255
    )
    ramp = ramp.rotate(random.choice((0, 90, 180, 270))).resize(image.size)
    return ImageChops.multiply(image, ramp.convert("RGB"))


def _through_jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Return the picture with the artefacts of the JPEG format."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    with Image.open(file, formats=["JPEG"]) as opened:
        return opened.convert("RGB")


def tilted(random: Random, size: tuple[float, float], center: Point) -> Corners:
    """Return where a plate's corners come to lie, turned and seen from the side.

    Args:
        random: the source of every choice.
        size: the plate's width and height.
        center: where its middle shall be.
    """
    angle = math.radians(random.uniform(-9, 9))
    lean = random.uniform(0, 0.06)
    corners = []
    for sign_x, sign_y in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        x = sign_x * size[0] / 2 * (1 - random.uniform(0, lean))
        y = sign_y * size[1] / 2 * (1 - random.uniform(0, lean))
        turned_x = x * math.cos(angle) - y * math.sin(angle)
        turned_y = x * math.sin(angle) + y * math.cos(angle)
        corners.append((center[0] + turned_x, center[1] + turned_y))
    return corners[0], corners[1], corners[2], corners[3]


def paste_tilted(
    image: Image.Image, plate: Image.Image, marks: Iterable[Mark], corners: Corners
) -> tuple[Mark, ...]:
    """Paste a plate (RGBA) so that its corners lie at the given points.

    Args:
        image: the picture, changed in place.
        plate: what to paste.
        marks: marks in the plate's pixels.
        corners: the corners' places in the picture.

    Returns:
        The marks in the picture's pixels.
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


def _outline(size: tuple[int, int]) -> list[Point]:
    width, height = size
    return [(0, 0), (width, 0), (width, height), (0, height)]


def _projection(
    sources: Iterable[Point], targets: Iterable[Point]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Solve for the 3 x 3 matrix that takes four points to four others."""
    rows, values = [], []
    for (x, y), (u, v) in zip(sources, targets, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
        values += [u, v]
    solved = np.linalg.solve(np.array(rows, float), np.array(values, float))
    return np.append(solved, 1.0).reshape(3, 3)


def _moved(
    mark: Mark, matrix: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> tuple[float, float, float, float]:
    """Return the upright rectangle around a mark's box after the projection."""
    left, top, right, bottom = mark.box
    box = np.array(
        [[left, right, right, left], [top, top, bottom, bottom], [1, 1, 1, 1]]
    )
    x, y, scale = matrix @ box
    x, y = x / scale, y / scale
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())
