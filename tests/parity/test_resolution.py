"""Frames and AnyRes against timm's encoder and transformers' projector.

The reference puts a picture together by itself: Pillow's resize, tiles cut from it,
each through timm's tower and transformers' projector, one after another.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks.nano import torchvision_stub  # noqa: E402, F401

pytest.importorskip("timm")
pytest.importorskip("transformers")

import torch  # noqa: E402
from PIL import Image  # noqa: E402
from transformers import FastVlmForConditionalGeneration  # noqa: E402
from transformers.models.clip.image_processing_pil_clip import (  # noqa: E402
    CLIPImageProcessorPil,
)

from fastvlm_mlx import FastVLM  # noqa: E402
from fastvlm_mlx.options import GenerationOptions  # noqa: E402
from tests.goldens.layouts import Recipe, write_fast_vlm  # noqa: E402
from tests.parity import reference, runtime  # noqa: E402
from tests.parity.reference import TextShape, TowerShape  # noqa: E402
from tests.parity.runtime import Array  # noqa: E402

pytestmark = pytest.mark.parity

RECIPE = Recipe("dial", write_fast_vlm, TowerShape(), TextShape(), seed=77)
SHAPES = ((100, 150), (300, 90), (64, 64), (90, 1000))  # (H, W) of the originals


@pytest.fixture(scope="module")
def theirs() -> FastVlmForConditionalGeneration:
    """The model in PyTorch."""
    return RECIPE.build()


@pytest.fixture(scope="module")
def ours(
    theirs: FastVlmForConditionalGeneration, tmp_path_factory: pytest.TempPathFactory
) -> FastVLM:
    """The same one, by the whole way of a checkpoint."""
    root = tmp_path_factory.mktemp("dial")
    source = RECIPE.write_source(theirs, root)
    return runtime.convert_and_open(source, root / "converted")


def noise(height: int, width: int) -> Image.Image:
    """Smooth on the large scale, so that tiles differ, and rough on the small one."""
    random = np.random.default_rng(height)
    rough = random.integers(0, 128, (height, width, 3))
    smooth = Image.fromarray(random.integers(0, 128, (2, 3, 3), dtype=np.uint8))
    return Image.fromarray(
        (np.asarray(smooth.resize((width, height))) + rough).astype("u1")
    )


def processed(image: Image.Image, height: int, width: int) -> Array:
    """CLIPImageProcessor's plain resize, its mean 0 and std 1: (H, W, 3) float32."""
    processor = CLIPImageProcessorPil(
        size={"height": height, "width": width},
        do_center_crop=False,
        image_mean=[0.0, 0.0, 0.0],
        image_std=[1.0, 1.0, 1.0],
    )
    (pixels,) = processor(image, return_tensors="np")["pixel_values"]
    return np.asarray(pixels).transpose(1, 2, 0)


def padded(image: Image.Image, height: int, width: int) -> Array:
    """The same of the picture in the middle of a black frame of that shape."""
    frame = Image.new(
        "RGB",
        (
            max(image.width, math.ceil(image.height * width / height)),
            max(image.height, math.ceil(image.width * height / width)),
        ),
    )
    corner = ((frame.width - image.width) // 2, (frame.height - image.height) // 2)
    frame.paste(image, corner)
    return processed(frame, height, width)


@torch.no_grad()
def their_embeds(model: FastVlmForConditionalGeneration, view: Array) -> Array:
    """Tower and projector on (H, W, 3), tokens row by row: (N, D)."""
    pixel_values = torch.from_numpy(view.transpose(2, 0, 1).copy())[None]
    features = reference.tower_stages(reference.timm_tower(model), pixel_values)[-1]
    tokens = features.flatten(2).transpose(1, 2)[0]
    projected: Array = model.model.multi_modal_projector(tokens).numpy()
    return projected


def our_embeds(vlm: FastVLM, image: Image.Image, **asked: Any) -> Array:
    """What our language model gets, (N, D)."""
    picture = vlm.engine.open_image(image, GenerationOptions.of(**asked))
    made = vlm.engine.encoder.encode([picture], False, lambda _: None)
    return np.array(made[picture.digest].image_embeds)


def nearest(longer: int, picture: tuple[int, int]) -> tuple[int, int]:
    """The frame by its definition: the nearest side, of two equally near the longer."""
    exact = longer * min(picture) / max(picture)
    shorter = min(
        range(64, longer + 1, 64), key=lambda side: (abs(side - exact), -side)
    )
    return (shorter, longer) if picture[0] < picture[1] else (longer, shorter)


def quarters(whole: Array) -> list[Array]:
    """Row by row from the top left."""
    rows = [half for half in np.split(whole, 2, axis=0)]
    return [tile for row in rows for tile in np.split(row, 2, axis=1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("resolution", [128, 320])
def test_a_frame_of_the_pictures_shape(
    theirs: FastVlmForConditionalGeneration,
    ours: FastVLM,
    shape: tuple[int, int],
    resolution: int,
) -> None:
    image = noise(*shape)
    frame = nearest(resolution, shape)
    thin = 2 * resolution * min(shape) < 64 * max(shape)
    view = padded(image, *frame) if thin else processed(image, *frame)
    found = our_embeds(ours, image, resolution=resolution, keep_aspect=True)
    error = runtime.relative_error(found, their_embeds(theirs, view))
    assert error <= runtime.TOWER_TOLERANCE


@pytest.mark.parametrize("keep_aspect", [False, True])
@pytest.mark.parametrize("shape", SHAPES[:3])
def test_anyres(
    theirs: FastVlmForConditionalGeneration,
    ours: FastVLM,
    shape: tuple[int, int],
    keep_aspect: bool,
) -> None:
    """The overview first, then four tiles of twice the resolution, row by row."""
    image = noise(*shape)
    fit: Callable[..., Array] = processed if keep_aspect else padded
    height, width = nearest(128, shape) if keep_aspect else (128, 128)
    views = [
        fit(image, height, width),
        *quarters(fit(image, 2 * height, 2 * width)),
    ]
    parts = [their_embeds(theirs, view) for view in views]
    found = our_embeds(
        ours, image, resolution=128, anyres=True, keep_aspect=keep_aspect
    )
    error = runtime.relative_error(found, np.concatenate(parts))
    assert error <= runtime.TOWER_TOLERANCE
    shuffled = np.concatenate([parts[0], parts[1], parts[3], parts[2], parts[4]])
    assert runtime.relative_error(found, shuffled) > 10 * runtime.TOWER_TOLERANCE


def test_rectangles_by_hand(
    theirs: FastVlmForConditionalGeneration, ours: FastVLM
) -> None:
    """Any H and W, padded as a square would be."""
    for size in ((64, 256), (320, 64), (192, 128)):
        image = noise(100, 170)
        found = our_embeds(ours, image, resolution=f"{size[0]}x{size[1]}")
        expected = their_embeds(theirs, padded(image, *size))
        assert runtime.relative_error(found, expected) <= runtime.TOWER_TOLERANCE
