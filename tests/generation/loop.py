"""The loop without a scheduler: a prompt read, then one token after another."""

from collections.abc import Callable
from dataclasses import dataclass

from fastvlm_mlx import FastVLM
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.generation.decode import DecodeOne
from fastvlm_mlx.generation.prefill import Prefill
from fastvlm_mlx.generation.sampling import Sampler
from fastvlm_mlx.model.language import KVCache


@dataclass
class Unread:
    """A prompt that is to be read."""

    inputs_embeds: mx.array  # (1, L, D)
    cache: KVCache

    @property
    def length(self) -> int:
        return self.inputs_embeds.shape[1]


def begin(
    vlm: FastVLM,
    embeds: mx.array,
    sampler: Sampler,
    count: int,
    chunk: int = 2048,
    between_steps: Callable[[KVCache], KVCache] | None = None,
) -> DecodeOne[None]:
    """An answer whose prompt was read."""
    model = vlm.engine.model
    prefill = Prefill(model, [Unread(embeds, model.make_cache())])
    while not prefill.advance(chunk):
        pass
    logits = prefill.logits()
    return DecodeOne(model, None, prefill.cache, logits, sampler, count, between_steps)


def generate(
    vlm: FastVLM, embeds: mx.array, sampler: Sampler, count: int, chunk: int = 2048
) -> list[int]:
    """That many tokens."""
    one = begin(vlm, embeds, sampler, count, chunk)
    return [one.step()[0][1] for _ in range(count)]
