"""Pixels of any mode of PIL to RGB of 8 bits."""

from typing import Any

import numpy as np
from PIL import Image

from ..errors import ImageError


def to_rgb(image: Image.Image, name: str) -> Image.Image:
    """What is transparent shows white; more than 8 bits are rounded.

    Args:
        name: what to call it in errors.

    Raises:
        ImageError: a mode that has no colours, or more than 16 bits.
    """
    if image.mode.startswith("I"):
        image = _grey_of_eight_bits(image, name)
    if image.mode == "F":
        raise ImageError(f"{name} holds floating-point pixels; save it with 8 bits.")
    if image.mode == "La":  # of which Pillow makes nothing else
        image = image.convert("LA")
    try:
        if image.has_transparency_data:
            return _on_white(image)
        return image if image.mode == "RGB" else image.convert("RGB")
    except ValueError:
        raise ImageError(
            f"{name} has the mode {image.mode!r}, which cannot become RGB; save it "
            "as RGB."
        ) from None


def _on_white(image: Image.Image) -> Image.Image:
    """Show what is transparent as white paper, as transformers' image processors do."""
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")


def _grey_of_eight_bits(image: Image.Image, name: str) -> Image.Image:
    """16-bit grey as "L" or "LA". PIL's convert would clip it to white."""
    values = np.asarray(image).astype(np.int64)
    most = 65535
    bits = _bits_of_tiff(image)
    if bits < 16:  # Pillow leaves 12 bits as they are
        most = (1 << bits) - 1
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(f"{name} holds 32-bit pixels; save it with 8 or 16 bits.")
    grey = ((values * 255 + most // 2) // most).clip(0, 255).astype(np.uint8)
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return Image.fromarray(grey)
    alpha = np.where(values == transparent, 0, 255).astype(np.uint8)
    return Image.fromarray(np.dstack([grey, alpha]))


def _bits_of_tiff(image: Image.Image) -> int:
    """Of one sample, where the caller opened a TIFF with Pillow; else 16."""
    tags: Any = getattr(image, "tag_v2", None) or {}
    bits = tags.get(258, (16,))
    return int(bits[0]) if isinstance(bits, tuple) and bits else 16
