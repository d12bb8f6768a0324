"""An upright RGB image to pixels (H, W, 3) uint8 at the model's size.

They equal those of the reference: LLaVA's expand-to-square on black (mode "pad", what
FastVLM was trained with) or CLIPImageProcessor's centre crop (mode "crop", what the
transformers port and Apple's app do), both with PIL's bicubic filter. Values stay bytes
here; the model's input is them divided by 255. Nothing here knows of files or tokens.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import OptionError
from .preprocessing import TILES, Fit

Pixels: TypeAlias = NDArray[np.uint8]

_STRIPE_BYTES = 1 << 20
"""Memory for the rows padded at a time: no frame of the original's size is built."""

_BICUBIC = Image.Resampling.BICUBIC

_THREADS = 4
"""Stripes resized at a time; PIL lets go of the interpreter meanwhile."""


def prepare(image: Image.Image, size: tuple[int, int], mode: Fit) -> Pixels:
    """Bring an RGB image to the model's size.

    Args:
        image: any size, mode "RGB".
        size: (H, W) in pixels.
        mode: "pad" centres the whole image on black; "crop" fills the frame and
            cuts what stands out; "stretch" resizes each side to the frame's.

    Returns:
        (H, W, 3) uint8.
    """
    fits: dict[Fit, Callable[[Image.Image, int, int], Image.Image]]
    fits = {"pad": _pad, "crop": _crop, "stretch": _stretch}
    if mode not in fits:
        raise OptionError(f"image_mode is {mode!r}; expected one of {(*fits,)}.")
    return np.asarray(fits[mode](image, *size))


def overview_and_tiles(image: Image.Image, size: tuple[int, int], mode: Fit) -> Pixels:
    """The image whole, and cut into tiles after it was brought to twice the size.

    Overview first, then tiles row by row, as LLaVA's `anyres` has them. All are made
    in the same mode; LLaVA's squeezes its overview and shrinks before it pads.

    Args:
        size: (H, W) in pixels, of each.

    Returns:
        (5, H, W, 3) uint8.
    """
    height, width = size
    whole = prepare(image, (TILES * height, TILES * width), mode)
    rows = whole.reshape(TILES, height, TILES, width, 3).swapaxes(1, 2)
    tiles = rows.reshape(TILES**2, height, width, 3)
    return np.concatenate([prepare(image, size, mode)[None], tiles])


def _pad(image: Image.Image, height: int, width: int) -> Image.Image:
    """Pad to the target's aspect ratio on black, then resize.

    Black rows need no work before the columns are resized, and the padded original
    is never in memory; the result is the same to the bit.
    """
    frame_width, frame_height, _, top = framed(*image.size, height, width)
    rows = Image.new("RGB", (width, frame_height))
    rows.paste(_resize_rows(image, frame_width, width), (0, top))
    return _resize_columns(rows, height)


def framed(
    image_width: int, image_height: int, height: int, width: int
) -> tuple[int, int, int, int]:
    """The padded image's width and height, and what is left of and above it."""
    frame_width = max(image_width, -(-image_height * width // height))
    frame_height = max(image_height, -(-image_width * height // width))
    left, top = (frame_width - image_width) // 2, (frame_height - image_height) // 2
    return frame_width, frame_height, left, top


def _crop(image: Image.Image, height: int, width: int) -> Image.Image:
    """Resize until the frame is covered, then cut the middle (CLIPImageProcessor)."""
    cover_width, cover_height = covering(*image.size, height, width)
    rows = _resize_rows(image, image.width, cover_width)
    left, top = (cover_width - width) // 2, (cover_height - height) // 2
    return _resize_columns(rows, cover_height).crop(
        (left, top, left + width, top + height)
    )


def covering(
    image_width: int, image_height: int, height: int, width: int
) -> tuple[int, int]:
    """The width and height at which an image just covers the frame."""
    if height * image_width >= width * image_height:
        return height * image_width // image_height, height
    return width, width * image_height // image_width


def _stretch(image: Image.Image, height: int, width: int) -> Image.Image:
    """Resize rows and columns, each by its own factor."""
    return _resize_columns(_resize_rows(image, image.width, width), height)


def _resize_rows(image: Image.Image, frame_width: int, width: int) -> Image.Image:
    """Pad every row to the frame's width on both sides and resize it.

    PIL resizes rows first, then columns, and rounds between the two. So both may be
    done in stripes, several at a time, and nothing changes.

    Returns:
        As high as the image, and `width` wide.
    """
    before = (frame_width - image.width) // 2

    def resized(top: int, end: int) -> Image.Image:
        stripe = image.crop((-before, top, frame_width - before, end))
        return stripe.resize((width, end - top), _BICUBIC)

    size = (width, image.height)
    return _in_stripes(size, resized, axis=1, step=_STRIPE_BYTES // (3 * frame_width))


def _resize_columns(rows: Image.Image, height: int) -> Image.Image:
    """As wide as before, and `height` high."""

    def resized(left: int, end: int) -> Image.Image:
        stripe = rows.crop((left, 0, end, rows.height))
        return stripe.resize((end - left, height), _BICUBIC)

    size = (rows.width, height)
    return _in_stripes(size, resized, axis=0, step=_STRIPE_BYTES // (3 * rows.height))


def _in_stripes(
    size: tuple[int, int],
    make: Callable[[int, int], Image.Image],
    axis: int,
    step: int,
) -> Image.Image:
    """An image of (width, height) from stripes across an axis, made in threads.

    Args:
        make: the stripe from one place on the axis to another.
    """
    starts = range(0, size[axis], max(1, step))
    ends = [min(start + starts.step, size[axis]) for start in starts]
    whole = Image.new("RGB", size)
    with ThreadPoolExecutor(min(_THREADS, len(starts))) as threads:
        made = threads.map(make, starts, ends)
        for start, stripe in zip(starts, made, strict=True):
            whole.paste(stripe, (0, start) if axis else (start, 0))
    return whole
