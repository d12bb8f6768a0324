"""Images that several tests make: noise, files, orientations."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

Array = NDArray[Any]


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """Every value next to every other: rounding has nowhere to hide."""
    generator = np.random.default_rng(seed)
    return Image.fromarray(
        generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
    )


def smooth(width: int = 64, height: int = 48) -> Image.Image:
    """Three ramps with a little noise, as photographs are; no two rows are alike."""
    y, x = np.mgrid[0:height, 0:width]
    ramps = np.stack([x * 3, y * 4, x + 2 * y], axis=-1)
    shaken = ramps + np.random.default_rng(1).integers(0, 9, ramps.shape)
    return Image.fromarray(shaken.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def oriented(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = number
    return exif


# What a viewer has to do to the stored rows, by EXIF orientation (CIPA DC-008).
UPRIGHT: dict[int, Callable[[Array], Array]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}
