"""Room for float16: residual streams carried times a power of two.

The values that run through a stage of FastViTHD can leave float16's range. A stream
scaled by 2^-k loses nothing, since powers of two change no mantissa: float32 results
are the same to the bit. Whoever writes into the stream writes 2^-k of it, whoever reads
it through a conv takes 2^k back, and LayerNorm does not see the scale once its eps is
scaled by its square. No operation is added. What is not in a stream (the hidden layer
of a ConvFFN, attention, the last conv) is not helped: its peak is measured and told.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastvlm_mlx.config import LARGEST_SHIFT, VisionConfig
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import CheckpointError
from fastvlm_mlx.model.ops import matmul
from fastvlm_mlx.model.vision import AttentionBlock, ConvFFN, FastViTHD

from .layout import Weights

Floats = NDArray[np.float32]

FLOAT16_MAX = 65504
ROOM = 32
"""How far below float16's limit a measured peak must stay: other images differ."""

CALIBRATION_SIDE = 512
"""Pixels at most: peaks come from channels, not from places in the image."""


@dataclass(frozen=True)
class Peaks:
    """The largest absolute values met, as they would be without rescaling."""

    streams: tuple[float, ...]  # per stage
    others: float  # hidden layers, attention scores, features
    scalable: tuple[bool, ...]  # per stage, whether a linear map begins its stream

    @property
    def shifts(self) -> tuple[int, ...]:
        """k per stage: the smallest that leaves the stream its room."""
        return tuple(
            _shift(peak) if scalable else 0
            for peak, scalable in zip(self.streams, self.scalable, strict=True)
        )

    @property
    def fits_float16(self) -> bool:
        """Whether what rescaling does not reach has room, too."""
        reached = [
            peak * 2.0**-shift
            for peak, shift in zip(self.streams, self.shifts, strict=True)
        ]
        return 4 * max(self.others, *reached) <= FLOAT16_MAX


def measure(weights: Weights, config: VisionConfig) -> Peaks:
    """Run a tower, not rescaled yet, in float32 over the calibration images."""
    tower = FastViTHD(config)
    prefix = "vision_tower."
    tower.load_weights(
        [
            (name.removeprefix(prefix), array.astype(mx.float32))
            for name, array in weights.items()
            if name.startswith(prefix)
        ]
    )
    sides = [
        min(side, max(CALIBRATION_SIDE, config.stride)) for side in config.image_size
    ]
    found: dict[int | None, float] = defaultdict(float)
    for pixel_values in calibration_images((sides[0], sides[1])):
        for stage, array in _values(tower, pixel_values):
            found[stage] = max(_peak(array), found[stage])
    streams = tuple(found[stage] for stage in range(len(config.layers)))
    scalable = tuple(
        mixer == "repmixer" or positioned
        for mixer, positioned in zip(config.token_mixers, config.pos_embs, strict=True)
    )
    return Peaks(streams, found[None], scalable)


def rescale(weights: Weights, config: VisionConfig, shifts: tuple[int, ...]) -> Weights:
    """Scale every stage's stream by 2^-shift; `weights` is not changed."""
    scaled = dict(weights)
    for index, shift in enumerate(shifts):
        if shift:
            for name, factor in _factors(config, index, 2.0**-shift):
                scaled[name] = scaled[name] * factor
    return scaled


def _factors(
    config: VisionConfig, index: int, scale: float
) -> Iterator[tuple[str, float]]:
    """Which weights of the tower change, and by what."""
    stage = f"vision_tower.stages.{index}"
    repmixer = config.token_mixers[index] == "repmixer"
    start = (
        f"{stage}.pos_emb"
        if config.pos_embs[index]
        else f"{stage}.blocks.0.token_mixer"
    )
    yield f"{start}.weight", scale  # the stream begins at the first linear map
    if config.pos_embs[index]:
        yield f"{start}.bias", scale
    for number in range(config.layers[index]):
        block = f"{stage}.blocks.{number}"
        if not repmixer:
            yield f"{block}.token_mixer.proj.weight", scale
        yield f"{block}.token_mixer{'' if repmixer else '.proj'}.bias", scale
        yield f"{block}.convffn.conv.weight", 1 / scale
        yield f"{block}.convffn.fc2.weight", scale
        yield f"{block}.convffn.fc2.bias", scale
    yield from _readers(config, index, 1 / scale)


def _readers(
    config: VisionConfig, index: int, factor: float
) -> Iterator[tuple[str, float]]:
    """The conv after the stage takes the scale back."""
    width = config.embed_dims[index]
    if index + 1 < len(config.layers):
        name, outputs = f"stages.{index + 1}.downsample", config.embed_dims[index + 1]
    else:
        name, outputs = "conv_exp", config.hidden_size
    for number in range(outputs // width):
        yield f"vision_tower.{name}.conv.weight.{number}", factor


def _values(
    tower: FastViTHD, pixel_values: mx.array
) -> Iterator[tuple[int | None, mx.array]]:
    """What flows: (stage, its stream) and (None, anything else)."""
    x = tower.stem(pixel_values)
    yield None, x
    for index, stage in enumerate(tower.stages):
        if stage.downsample is not None:
            yield None, stage.downsample(x)
        x = stage.enter(x)
        if stage.pos_emb is not None:
            yield index, x
        for block in stage.blocks:
            mixed, residual = block.mix(x)
            yield index, mixed
            yield None, _hidden(block.convffn, mixed)
            if isinstance(block, AttentionBlock):
                yield None, _scores(block, x)
            x = block.convffn(mixed, residual)
            yield index, x
    yield None, tower.conv_exp(x)


def _hidden(convffn: ConvFFN, x: mx.array) -> mx.array:
    """The widest layer, before its GELU."""
    tokens = convffn.conv(x).reshape(-1, x.shape[-1])
    hidden: mx.array = matmul(tokens, convffn.fc1) + convffn.fc1.bias
    return hidden


def _scores(block: AttentionBlock, x: mx.array) -> mx.array:
    """Attention scores before the softmax; they exceed queries and keys."""
    tokens = block.norm(x.reshape(-1, x.shape[-1]))
    queries, keys, _ = block.token_mixer.heads(tokens, batch=x.shape[0])
    return queries @ keys.swapaxes(-1, -2)


def _peak(array: mx.array) -> float:
    peak = mx.abs(array).max().item()
    assert isinstance(peak, float)
    if not math.isfinite(peak):
        raise CheckpointError(
            "The vision tower computes values that are not numbers; its weights are "
            "damaged (NaN, infinite, or a negative running_var)."
        )
    return peak


def _shift(peak: float) -> int:
    needed = math.ceil(math.log2(max(peak, 1.0) * ROOM / FLOAT16_MAX))
    return min(max(0, needed), LARGEST_SHIFT)


def calibration_images(size: tuple[int, int]) -> list[mx.array]:
    """Pixel values (1, H, W, 3) in [0, 1] of unlike images: flat, smooth, sharp."""
    random = np.random.default_rng(0)
    height, width = size
    images = (
        np.ones((height, width, 3), np.float32),
        _gradient(height, width),
        _strokes(height, width, random),
        random.random((height, width, 3), np.float32),
    )
    return [mx.array(image)[None] for image in images]


def _gradient(height: int, width: int) -> Floats:
    """Red across, green down, blue along the diagonal."""
    across = np.broadcast_to(np.linspace(0, 1, width), (height, width))
    down = np.broadcast_to(np.linspace(0, 1, height)[:, None], (height, width))
    return np.stack([across, down, (across + down) / 2], axis=-1).astype(np.float32)


def _strokes(height: int, width: int, random: np.random.Generator) -> Floats:
    """Dark bars on white, as print has them, and a few coloured blocks."""
    page = np.ones((height, width, 3), np.float32)
    for number in range(200):
        top, left = random.integers(height), random.integers(width)
        tall, wide = random.integers(1, 12, 2) if number % 10 else (height // 8,) * 2
        colour = random.random(3) if number % 10 == 0 else np.zeros(3)
        page[top : top + tall, left : left + wide] = colour
    return page
