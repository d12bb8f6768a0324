"""The MLX side of every comparison: convert, load, run, measure. No torch here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert import convert_checkpoint
from fastvlm_mlx import FastVLM, load
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.model.fastvlm import FastVLMModel
from fastvlm_mlx.model_folder import load_config
from fastvlm_mlx.weights import load_model

Array = NDArray[Any]

TOWER_TOLERANCE = 1e-5  # of the tower's outputs and the projector's, float32
LOGIT_TOLERANCE = 1e-4


def convert_and_load(source: Path, output: Path) -> FastVLMModel:
    """The whole way of a checkpoint, in float32."""
    convert_checkpoint(source, output)
    return load_model(output, load_config(output), dtype="float32")


def convert_and_open(source: Path, output: Path) -> FastVLM:
    """The same, with all that an engine has around its model."""
    convert_checkpoint(source, output)
    return load(output, dtype="float32")


def channels_last(images: Array) -> mx.array:
    """PyTorch's (B, C, H, W) to MLX's (B, H, W, C)."""
    return mx.array(np.ascontiguousarray(images.transpose(0, 2, 3, 1)))


def channels_first(images: mx.array) -> Array:
    """MLX's (B, H, W, C) to PyTorch's (B, C, H, W)."""
    return np.array(images).transpose(0, 3, 1, 2)


def relative_error(found: Array | mx.array, expected: Array) -> float:
    """The largest difference, as a share of the largest expected value."""
    found = np.array(found)
    assert found.shape == expected.shape
    assert np.isfinite(found).all()  # NaN compares as neither large nor small
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def image_spans(
    token_ids: Sequence[int], image_tokens: Sequence[int], length: int
) -> list[tuple[int, int]]:
    """(start, length) of every picture of `length` positions in a prompt."""
    starts: list[int] = []
    for position, token in enumerate(token_ids):
        inside = bool(starts) and position < starts[-1] + length
        if token in image_tokens and not inside:
            starts.append(position)
    return [(start, length) for start in starts]


def greedy_tokens(
    model: FastVLMModel, inputs_embeds: mx.array, count: int
) -> list[int]:
    """The `count` likeliest tokens one after another, by the KV cache."""
    cache = model.make_cache()
    logits = model(inputs_embeds, cache)
    tokens: list[int] = []
    for _ in range(count):
        tokens.append(int(mx.argmax(logits[0, -1])))
        logits = model(model.embed(tokens[-1:]), cache)
    return tokens
