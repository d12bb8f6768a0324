"""Pictures that a converter can look at: drawn from fixed numbers, no file needed."""

import numpy as np
from numpy.typing import NDArray

from fastvlm_mlx.device.backend import mx

Floats = NDArray[np.float32]


def calibration_pictures(size: tuple[int, int]) -> list[mx.array]:
    """Pixel values (1, H, W, 3) in [0, 1] of unlike pictures: flat, smooth, sharp."""
    random = np.random.default_rng(0)
    height, width = size
    pictures = (
        np.ones((height, width, 3), np.float32),
        _gradient(height, width),
        _strokes(height, width, random),
        random.random((height, width, 3), np.float32),
    )
    return [mx.array(picture)[None] for picture in pictures]


def _gradient(height: int, width: int) -> Floats:
    """Red across, green down, blue along the diagonal."""
    across = np.broadcast_to(np.linspace(0, 1, width), (height, width))
    down = np.broadcast_to(np.linspace(0, 1, height)[:, None], (height, width))
    return np.stack([across, down, (across + down) / 2], axis=-1).astype(np.float32)


def _strokes(height: int, width: int, random: np.random.Generator) -> Floats:
    """Dark bars on white, as print has them, and a few coloured blocks."""
    page = np.ones((height, width, 3), np.float32)
    for number in range(200):
        top, left = random.integers(height), random.integers(width)
        tall, wide = random.integers(1, 12, 2) if number % 10 else (height // 8,) * 2
        colour = random.random(3) if number % 10 == 0 else np.zeros(3)
        page[top : top + tall, left : left + wide] = colour
    return page
