"""The parts of one answer as jobs: encode, prefill, decode, and all of them."""

import io
from collections.abc import Callable
from typing import cast

import mlx.nn as nn
import numpy as np
from PIL import Image

from benchmarks.measuring.geometry import (
    random_language_model,
    random_projector,
    random_tower,
)
from fastvlm_mlx.device.backend import mx, pick_dtype
from fastvlm_mlx.images.decode import open_image
from fastvlm_mlx.images.resize import prepare
from fastvlm_mlx.model import language
from fastvlm_mlx.timings import Stopwatch

PREFIX, SUFFIX = 14, 10
"""Positions of the chat template and of a short question around a picture."""


def prefill(model: nn.Module, embeds: mx.array) -> tuple[mx.array, language.KVCache]:
    """(1, L, D) -> the first token (1, 1), and the filled cache."""
    cache = language.make_cache(model)
    hidden = language.hidden_states(model, embeds, cache)
    return language.apply_head(model, hidden[:, -1:]).argmax(-1), cache


def prefill_job(model: nn.Module, positions: int) -> Callable[[], object]:
    """A prompt of that many positions, to its first token."""
    width = model.args.hidden_size
    embeds = mx.random.normal((1, positions, width)).astype(pick_dtype())
    return lambda: prefill(model, embeds)[0].item()


def decode_job(model: nn.Module, context: int, tokens: int) -> Callable[[], object]:
    """So many tokens, one after another, that see `context` positions and more."""
    width = model.args.hidden_size
    embeds = mx.zeros((1, context, width), pick_dtype())
    token, cache = prefill(model, embeds)
    mx.eval(token)

    def run() -> None:
        following = token
        for layer in cache:
            layer.trim(layer.offset - context)
        for _ in range(tokens):
            embedded = language.embed(model, following)
            hidden = language.hidden_states(model, embedded, cache)
            following = language.apply_head(model, hidden).argmax(-1)
            mx.async_eval(following)
        following.item()

    return run


def draw_picture(side: int) -> bytes:
    """A JPEG of soft shapes, side x side."""
    ramp = np.linspace(0, 6, side)
    waves = np.sin(ramp)[:, None] * np.cos(1.7 * ramp)[None]
    pixels = np.stack([127 + 120 * waves * scale for scale in (1, 0.5, -1)], axis=-1)
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


class Answerer:
    """Tower, projector and language model: a picture file in, a token out."""

    def __init__(self, size: str, bits: int) -> None:
        self.tower, self.projector = random_tower(), random_projector(size)
        self.language_model = random_language_model(size, bits)
        mx.eval(self.tower.parameters(), self.projector.parameters())

    def first_token(self, picture: bytes, side: int) -> dict[str, float]:
        """Seconds of each part; everything is waited for in its turn."""
        watch = Stopwatch()
        image = open_image(picture)
        watch.lap("load_image")
        pixels = prepare(image, (side, side), "pad")
        watch.lap("preprocess")
        features = self.tower(mx.array(pixels)[None].astype(pick_dtype()) / 255)
        mx.eval(features)
        watch.lap("encode")
        visual = self.projector(features)
        mx.eval(visual)
        watch.lap("project")
        prefill(self.language_model, self._prompt(visual))[0].item()
        watch.lap("prefill")
        timings = watch.timings()
        names = ("load_image", "preprocess", "encode", "project", "prefill")
        parts = {name: cast(float, getattr(timings, name)) for name in names}
        return {**parts, "first token": timings.time_to_first_token}

    def _prompt(self, visual: mx.array) -> mx.array:
        ids = mx.arange(PREFIX + SUFFIX)[None]
        text = language.embed(self.language_model, ids).astype(visual.dtype)
        return mx.concatenate([text[:, :PREFIX], visual, text[:, PREFIX:]], axis=1)
