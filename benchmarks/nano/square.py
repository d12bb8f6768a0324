"""A drawn picture as the model sees it: a square, and where its marks end up.

The pixels are those of the runtime, `fastvlm_mlx.frame.prepare` in mode "pad".
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from benchmarks.nano.placement import Placement, Point
from benchmarks.nano.presets import STRIDE, image_tokens
from fastvlm_mlx.images.resize import prepare


@dataclass(frozen=True)
class Square:
    """A picture padded to a square on black and resized.

    Attributes:
        pixels: uint8 (3, S, S).
        placement: where the drawn picture lies in it.
    """

    pixels: Tensor
    placement: Placement

    @property
    def tokens(self) -> int:
        """How many visual tokens it becomes."""
        return image_tokens(self.pixels.shape[-1])

    def token(self, point: Point) -> int:
        """Return the number of the visual token that a point of the picture is in."""
        side = self.pixels.shape[-1] // STRIDE
        column, row = (
            min(max(int(at) // STRIDE, 0), side - 1)
            for at in self.placement.point(point)
        )
        return row * side + column


def square(image: Image.Image, resolution: int) -> Square:
    """Pad an RGB picture to a square on black and resize it to `resolution`."""
    side = max(image.size)
    pixels = torch.from_numpy(prepare(image, (resolution, resolution), "pad").copy())
    offset = ((side - image.width) // 2, (side - image.height) // 2)
    return Square(pixels.permute(2, 0, 1), Placement(resolution / side, offset))


def read_square(path: Path, resolution: int) -> Tensor:
    """Read a picture's file and make it a square: uint8 (3, S, S)."""
    with Image.open(path) as opened:
        return square(opened.convert("RGB"), resolution).pixels


def to_pixel_values(pixels: Tensor) -> Tensor:
    """Scale uint8 pictures (B, 3, S, S) to float32 in [0, 1]; no mean, no deviation."""
    # Reordered as bytes, a quarter of what the floats are.
    return pixels.contiguous(memory_format=torch.channels_last).float().div_(255)
