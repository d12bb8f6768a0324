"""How long each part of an answer takes here: an image in, tokens out.

A JPEG of 12 megapixels is drawn, so that the way is that of a photo from a telephone.
"""

import io
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import Image

from ..config import FastVLMConfig
from ..device.backend import mx
from ..device.compiling import kernels
from ..images.decode import open_image
from ..images.resize import prepare
from ..model.fastvlm import FastVLMModel

PHOTO = (4032, 3024)
"""Width and height."""

WORDS = 24
"""Positions of a prompt beside its image, as in "What is this?" with its template."""

DECODED = 16
"""Tokens after the first that a decode is measured by."""


@dataclass(frozen=True)
class Parts:
    """Medians, in seconds."""

    resolution: tuple[int, int]
    positions: int  # of the prompt
    pixels: float  # JPEG to the model's input
    encode: float
    prefill: float  # projector, language model, first token
    decode: float  # each later token

    @property
    def first_token(self) -> float:
        """From the file to the first token."""
        return self.pixels + self.encode + self.prefill


def measure(
    model: FastVLMModel, config: FastVLMConfig, size: tuple[int, int], runs: int
) -> Parts:
    """Time one answer in parts, after one run to warm up, with kernels compiled.

    Args:
        size: (H, W) that images are brought to.
    """
    kernels.begin()
    photo = _photo()
    times = [_once(model, config, size, photo) for _ in range(runs + 1)][1:]
    medians = (statistics.median(each) for each in zip(*times, strict=True))
    positions = config.vision_config.num_tokens(size) + WORDS
    return Parts(size, positions, *medians)


def _once(
    model: FastVLMModel, config: FastVLMConfig, size: tuple[int, int], photo: bytes
) -> tuple[float, float, float, float]:
    lap = _laps()
    mode = config.image_mode
    pixels = prepare(open_image(photo, size, mode), size, mode)
    pixel_values = model.pixel_values(mx.array(pixels)[None])
    took_pixels = lap()
    features = model.encode_image(pixel_values)
    mx.eval(features)
    took_encode = lap()
    cache = model.make_cache()
    prompt = mx.concatenate([model.project(features), model.embed([0] * WORDS)], axis=1)
    token = mx.argmax(model.prefill(prompt, cache), axis=-1)
    mx.eval(token)
    took_prefill = lap()
    for _ in range(DECODED):
        token = mx.argmax(model.decode(token, cache), axis=-1)
        mx.eval(token)
    return took_pixels, took_encode, took_prefill, lap() / DECODED


def _laps() -> Callable[[], float]:
    """Each call gives the seconds since the one before."""

    def run() -> Iterator[float]:
        before = time.perf_counter()
        while True:
            now = time.perf_counter()
            yield now - before
            before = now

    laps = run()
    next(laps)
    return lambda: next(laps)


def _photo() -> bytes:
    """Smooth, with grain; not a photograph, but as long to decode as an easy one."""
    grain = Image.effect_noise(PHOTO, 20)
    light = Image.radial_gradient("L").resize(PHOTO)
    image = Image.merge("RGB", (Image.blend(light, grain, 0.3), light, grain))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()
