"""Preprocessing against transformers' CLIPImageProcessor, to the bit.

FastVLM's reference preprocessing is that processor with mean 0 and std 1 (mode
"crop"), in LLaVA's own code after expanding the picture to a square (mode "pad").
"""

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("transformers")

from transformers.image_transforms import convert_to_rgb  # noqa: E402
from transformers.models.clip.image_processing_pil_clip import (  # noqa: E402
    CLIPImageProcessorPil,
)

from benchmarks.nano import torchvision_stub  # noqa: E402, F401
from fastvlm_mlx.images.decode import open_image  # noqa: E402
from fastvlm_mlx.images.resize import prepare  # noqa: E402

pytestmark = pytest.mark.parity

Array = NDArray[np.floating | np.uint8]

SIDE = 128

SHAPES = (
    (1, 1),
    (1, 7),
    (7, 1),
    (2, 3),
    (127, 129),
    (128, 128),
    (129, 128),
    (64, 64),
    (100, 57),  # portrait, smaller than the target
    (57, 100),
    (480, 640),
    (641, 479),  # odd, portrait, larger
    (1080, 1920),
    (1100, 90),  # rows enough for more than two stripes of the padding
    (33, 900),
)
"""Height and width."""


def noise(height: int, width: int, channels: int, seed: int = 0) -> Array:
    """Random bytes, the hardest picture for a filter: (H, W, C) uint8."""
    generator = np.random.default_rng(seed + 7919 * height + width)
    return generator.integers(0, 256, (height, width, channels), dtype=np.uint8)


def reference_pixels(image: Image.Image, side: int) -> Array:
    """What the model receives by CLIPImageProcessor, (H, W, 3) float32.

    It paints white under what is see-through, since transformers 5.
    """
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_mean=[0.0, 0.0, 0.0],
        image_std=[1.0, 1.0, 1.0],
    )
    (pixel_values,) = processor(image, return_tensors="np")["pixel_values"]
    return np.asarray(pixel_values).transpose(1, 2, 0)


def expand_to_square(image: Image.Image) -> Image.Image:
    """LLaVA's padding: the picture in the middle of a black square of its long side."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), (0, 0, 0))
    rgb = Image.fromarray(convert_to_rgb(image, return_numpy=True))
    square.paste(rgb, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def our_pixels(image: Image.Image, side: int, mode: str) -> Array:
    """What our model receives, (H, W, 3) float32."""
    pixels = prepare(open_image(image), (side, side), mode)  # type: ignore[arg-type]
    assert pixels.dtype == np.uint8
    return pixels.astype(np.float32) / np.float32(255)


REFERENCES: dict[str, Callable[[Image.Image, int], Array]] = {
    "crop": reference_pixels,
    "pad": lambda image, side: reference_pixels(expand_to_square(image), side),
}


def check(image: Image.Image, mode: str, side: int = SIDE) -> None:
    """Ours and the reference's are the same numbers."""
    expected = REFERENCES[mode](image, side)
    np.testing.assert_array_equal(our_pixels(image, side, mode), expected)


@pytest.mark.parametrize("mode", REFERENCES)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}x{shape[1]}")
def test_shapes(shape: tuple[int, int], mode: str) -> None:
    check(Image.fromarray(noise(*shape, 3)), mode)


@pytest.mark.parametrize("mode", REFERENCES)
@pytest.mark.parametrize("side", (64, 192, 1024))
def test_targets(side: int, mode: str) -> None:
    check(Image.fromarray(noise(301, 450, 3)), mode, side)


def palette(transparent: bool) -> Image.Image:
    """A picture of 16 colours, as a file gives it, with one of them see-through."""
    image = Image.fromarray(noise(90, 140, 3)).quantize(16)
    file = io.BytesIO()
    image.save(file, "PNG", **({"transparency": 3} if transparent else {}))
    reopened = Image.open(file)
    reopened.load()
    assert reopened.mode == "P"
    assert ("transparency" in reopened.info) == transparent
    return reopened


PICTURES: dict[str, Callable[[], Image.Image]] = {
    "RGB": lambda: Image.fromarray(noise(90, 140, 3)),
    "RGBA": lambda: Image.fromarray(noise(90, 140, 4)),
    "L": lambda: Image.fromarray(noise(90, 140, 1)[:, :, 0]),
    "LA": lambda: Image.fromarray(noise(90, 140, 2)),
    "P": lambda: palette(transparent=False),
    "P, transparent": lambda: palette(transparent=True),
    "CMYK": lambda: Image.fromarray(noise(90, 140, 4), "CMYK"),
    "1": lambda: Image.fromarray(noise(90, 140, 1)[:, :, 0]).convert("1"),
    "YCbCr": lambda: Image.fromarray(noise(90, 140, 3), "YCbCr"),
    # mlx-vlm takes a picture whose bytes are all 0 or 1 for one in [0, 1].
    "near black": lambda: Image.fromarray(noise(90, 140, 3) % 2),
    "black": lambda: Image.new("RGB", (140, 90)),
    "white": lambda: Image.new("RGB", (140, 90), (255, 255, 255)),
}


@pytest.mark.parametrize("mode", REFERENCES)
@pytest.mark.parametrize("picture", PICTURES)
def test_colour_modes(picture: str, mode: str) -> None:
    check(PICTURES[picture](), mode)
