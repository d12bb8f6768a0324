"""How long a decoder takes to read L visual tokens into its KV cache.

As in the paper nothing else is read and the head is not applied. Prompts are read in
chunks. A chunk costs what its tokens cost plus attention to all that came before, which
grows linearly with its offset; so of a long prompt the first, the middle and the last
whole chunk are measured, with random KV of their offset before them, and the others lie
on the lines between. Layers are alike, so a few are measured and multiplied by depth.
"""

import dataclasses
from bisect import bisect_right
from dataclasses import dataclass

import mlx.nn as nn

from benchmarks.paper.effort import Effort
from benchmarks.paper.encoders.random_weights import randomize
from fastvlm_mlx.config import TextConfig
from fastvlm_mlx.device.backend import mx, pick_dtype
from fastvlm_mlx.model.language import (
    KVCache,
    build_language_model,
    hidden_states,
    make_cache,
)

CHUNK = 512
"""Positions per step; mlx-lm's own when the paper was written."""

MEASURED_WHOLE = 3
"""A prompt of so many whole chunks or fewer is measured chunk by chunk."""

Chunk = tuple[int, int]
"""Offset and size."""


@dataclass(frozen=True)
class Prefill:
    """One prefill, and what of it was measured."""

    seconds: float
    layers: int  # of depth
    depth: int
    measured: int  # of chunks
    chunks: int

    @property
    def scaled(self) -> bool:
        """Whether any of it was calculated."""
        return self.layers < self.depth or self.measured < self.chunks

    def __str__(self) -> str:
        return (
            f"{self.layers} of {self.depth} layers, "
            f"{self.measured} of {self.chunks} chunks measured"
        )


class Decoder:
    """Some layers of a language model, with random weights, to be timed."""

    def __init__(self, config: TextConfig, layers: int) -> None:
        self._depth = config.num_hidden_layers
        self._layers = min(layers, self._depth)
        self._config = dataclasses.replace(
            config,
            num_hidden_layers=self._layers,
            vocab_size=1,  # no token is embedded and no head applied
            tie_word_embeddings=True,
        )
        self._model: nn.Module = build_language_model(self._config)
        randomize(self._model, pick_dtype())

    def prefill(self, tokens: int, effort: Effort) -> Prefill:
        """Time a prompt of so many tokens."""
        chunks = split(tokens)
        chosen = chunks if effort.every_chunk else choose(chunks)
        took = {chunk: self._seconds(chunk, effort) for chunk in chosen}
        total = add_up(chunks, took) * self._depth / self._layers
        return Prefill(total, self._layers, self._depth, len(chosen), len(chunks))

    def _seconds(self, chunk: Chunk, effort: Effort) -> float:
        offset, size = chunk
        shape = (1, size, self._config.hidden_size)
        embeds = mx.random.uniform(-1, 1, shape).astype(pick_dtype())
        before = self._read(offset)
        return effort.seconds(lambda: self._step(embeds, before))

    def _read(self, offset: int) -> list[tuple[mx.array, mx.array]]:
        """Random KV of `offset` positions for each layer."""
        heads = self._config.num_key_value_heads
        width = self._config.hidden_size // self._config.num_attention_heads
        shape = (1, heads, offset, width)
        pairs = [
            (mx.random.uniform(-1, 1, shape), mx.random.uniform(-1, 1, shape))
            for _ in range(self._layers)
        ]
        pairs = [(k.astype(pick_dtype()), v.astype(pick_dtype())) for k, v in pairs]
        mx.eval(pairs)
        return pairs

    def _step(self, embeds: mx.array, before: list[tuple[mx.array, mx.array]]) -> None:
        """One chunk through the layers, its KV made as well: (1, size, D)."""
        cache: KVCache = make_cache(self._model)
        if before[0][0].shape[2]:
            for each, pair in zip(cache, before, strict=True):
                each.keys, each.values = pair
                each.offset = pair[0].shape[2]
        hidden = hidden_states(self._model, embeds, cache)
        mx.eval(hidden, [(each.keys, each.values) for each in cache])


def split(tokens: int, chunk: int = CHUNK) -> list[Chunk]:
    """The chunks of a prompt, the last one perhaps shorter."""
    starts = range(0, tokens, chunk)
    return [(start, min(chunk, tokens - start)) for start in starts]


def choose(chunks: list[Chunk]) -> list[Chunk]:
    """The chunks to measure."""
    whole = [chunk for chunk in chunks if chunk[1] == chunks[0][1]]
    if len(whole) <= MEASURED_WHOLE:
        return chunks
    ends = [whole[0], whole[len(whole) // 2], whole[-1]]
    return ends + chunks[len(whole) :]


def add_up(chunks: list[Chunk], took: dict[Chunk, float]) -> float:
    """Seconds of all chunks, those not measured on the line between neighbours."""
    size = chunks[0][1]
    offsets = sorted(offset for offset, each in took if each == size)
    total = 0.0
    for chunk in chunks:
        if chunk in took:
            total += took[chunk]
            continue
        after = bisect_right(offsets, chunk[0])
        low, high = offsets[after - 1], offsets[after]
        share = (chunk[0] - low) / (high - low)
        total += (1 - share) * took[low, size] + share * took[high, size]
    return total


def layers_that_fit(config: TextConfig, memory: float) -> int:
    """Layers whose weights take at most `memory` bytes, at least one."""
    width = config.hidden_size
    kv_share = config.num_key_value_heads / config.num_attention_heads
    size = (2 + 2 * kv_share) * width**2 + 3 * width * config.intermediate_size
    return max(1, int(memory // (size * pick_dtype().size)))
