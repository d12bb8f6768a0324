"""Training pictures varied: the shape moved to another place, or seen in a mirror.

Every answer stays true. Moving is exact: the box that differs from the plain
background is cut out and pasted elsewhere, never cropped by the border.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

MARGIN = 4  # Pixels kept around the shape, for the soft edge that resizing makes.
CONTRAST = 24  # Difference from the background that counts as shape, of 255.


@dataclass(frozen=True)
class Boxes:
    """Where the shape is in each picture.

    Attributes:
        backgrounds: uint8 (N, 3), the plain color around the shape.
        bounds: int64 (N, 4), top, bottom, left, right; bottom and right exclusive.
    """

    backgrounds: Tensor
    bounds: Tensor


def find_boxes(pixels: Tensor) -> Boxes:
    """Find the shape in each of the uint8 pictures (N, 3, S, S)."""
    corners = pixels[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]  # (N, 3, 4)
    # A shape covers one corner at most, so the lower median is a background value.
    backgrounds = corners.median(dim=2).values
    difference = (pixels.short() - backgrounds.short()[:, :, None, None]).abs()
    shown = difference.amax(dim=1) > CONTRAST  # (N, S, S)
    bounds = [(*_extent(mask.any(1)), *_extent(mask.any(0))) for mask in shown]
    return Boxes(backgrounds, torch.tensor(bounds))


def _extent(occupied: Tensor) -> tuple[int, int]:
    """Return the first and the last-plus-one occupied place, with the margin."""
    places = occupied.nonzero().flatten()
    first, last = int(places[0]), int(places[-1])
    return max(first - MARGIN, 0), min(last + 1 + MARGIN, len(occupied))


def vary(
    pixels: Tensor, boxes: Boxes, chosen: Tensor, random: torch.Generator
) -> Tensor:
    """Return the chosen pictures, each moved and perhaps mirrored.

    Args:
        pixels: uint8 (N, 3, S, S), all pictures.
        boxes: their shapes' places.
        chosen: int64 (B,), indices of pictures.
        random: the source of places and mirrors.

    Returns:
        uint8 (B, 3, S, S).
    """
    moved = torch.empty_like(pixels[chosen])
    for row, i in enumerate(chosen.tolist()):
        moved[row] = _move(pixels[i], boxes.backgrounds[i], boxes.bounds[i], random)
    mirrored = torch.rand(len(chosen), generator=random) < 0.5
    moved[mirrored] = moved[mirrored].flip(3)
    return moved


def _move(
    picture: Tensor, background: Tensor, bounds: Tensor, random: torch.Generator
) -> Tensor:
    """Paste the shape of one picture (3, S, S) at a random place of its background."""
    top, bottom, left, right = bounds.tolist()
    height, width, side = bottom - top, right - left, picture.shape[-1]
    y = int(torch.randint(side - height + 1, (), generator=random))
    x = int(torch.randint(side - width + 1, (), generator=random))
    moved = background[:, None, None].expand(-1, side, side).clone()
    moved[:, y : y + height, x : x + width] = picture[:, top:bottom, left:right]
    return moved
