"""Pictures and labels as torch tensors, ready to learn from or to ask about.

In: a `Split`. Out: `Examples`; uint8 pixels become the model's `pixel_values` only per
batch, for the memory's sake.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.nano.data import Split, read_pixels


@dataclass(frozen=True)
class Examples:
    """The pictures of a split, in its order.

    Attributes:
        split: the N pictures' files and questions.
        pixels: uint8 (N, 3, S, S).
        shapes: int64 (N,), indices into `SHAPES`, or `UNKNOWN`.
        colors: int64 (N,), indices into `COLORS`, or `UNKNOWN`.
    """

    split: Split
    pixels: Tensor
    shapes: Tensor
    colors: Tensor

    def __len__(self) -> int:
        return len(self.split)


def load_examples(split: Split, resolution: int) -> Examples:
    """Read the pictures of a split, each `resolution` pixels wide and high."""
    shapes = torch.tensor([picture.shape for picture in split])
    colors = torch.tensor([picture.color for picture in split])
    arrays = [read_pixels(picture.path, resolution) for picture in split]
    pixels = [torch.from_numpy(array).permute(2, 0, 1) for array in arrays]
    return Examples(split, torch.stack(pixels), shapes, colors)


def to_pixel_values(pixels: Tensor) -> Tensor:
    """Scale uint8 pictures (B, 3, S, S) to float32 in [0, 1]; no mean, no deviation."""
    return pixels.float().div(255).contiguous(memory_format=torch.channels_last)
