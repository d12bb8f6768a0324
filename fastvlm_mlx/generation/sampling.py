"""Logits to tokens.

A sampler is passed to the loop, so the loop has no temperature.
"""

import random
from collections.abc import Callable, Sequence

from ..device.backend import mx
from ..device.compiling import sparing
from ..model.lazy_mlx_lm import mlx_lm
from ..options import GenerationOptions

Sampler = Callable[[mx.array], mx.array]
"""Logits (1, V) to a token (1,)."""

COLDEST = 1e-6
"""A lower temperature only overflows: the most probable token is all it leaves."""


def greedy(logits: mx.array) -> mx.array:
    """The most probable tokens: logits (B, V) to (B,)."""
    return mx.argmax(logits, axis=-1)


def make_sampler(options: GenerationOptions, vocab_size: int) -> Sampler:
    """Logits (1, V) to a token (1,), by mlx-lm's samplers."""
    if options.temperature < COLDEST:
        return greedy
    sample: Sampler = mlx_lm("sample_utils").make_sampler(
        temp=options.temperature,
        top_p=options.top_p,
        min_p=options.min_p,
        top_k=options.top_k if options.top_k < vocab_size else 0,
    )
    seeds = random.Random(options.seed)

    @sparing
    def from_logits(logits: mx.array) -> mx.array:
        if options.seed is not None:  # MLX's state is shared with whoever draws
            mx.random.seed(seeds.getrandbits(64))
        logits = logits.astype(mx.float32)
        return sample(logits - mx.logsumexp(logits, axis=-1, keepdims=True))

    return from_logits


def sample_rows(samplers: Sequence[Sampler], logits: mx.array) -> mx.array:
    """Each row by its own sampler: (B, V) -> (B,)."""
    if all(sampler is greedy for sampler in samplers):
        return greedy(logits)
    rows = [sampler(logits[row : row + 1]) for row, sampler in enumerate(samplers)]
    return mx.concatenate(rows)
