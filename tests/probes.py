"""What several test files probe a model with: images of noise, and its first logits."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fastvlm_mlx import FastVLM, engine
from fastvlm_mlx.device.backend import mx


def random_bytes(seed: int, *shape: int) -> NDArray[np.uint8]:
    """Pixels in which every value stands next to every other: the hardest to filter."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def noise(seed: int, width: int = 30, height: int = 40) -> Image.Image:
    """An RGB image like no other."""
    return Image.fromarray(random_bytes(seed, height, width, 3))


@contextlib.contextmanager
def seen_logits() -> Iterator[list[mx.array]]:
    """What the tokens of greedy answers are chosen by, (1, V) each, as they come."""
    seen: list[mx.array] = []

    def spy(logits: mx.array) -> mx.array:
        seen.append(logits)
        return mx.argmax(logits, axis=-1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "make_sampler", lambda *_: spy)
        yield seen


def first_logits(
    vlm: FastVLM, images: Any, prompt: str, **options: Any
) -> NDArray[np.float32]:
    """What the first token of an answer is chosen by, (V,)."""
    with seen_logits() as seen:
        vlm.generate(images, prompt, max_tokens=1, **options)
    return np.array(seen[0][0])
