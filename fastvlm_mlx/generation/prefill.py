"""Prompts into KV caches, a chunk at a time, from where an earlier request ended.

`PromptPrefill` is one request's: the caches it begins with and what it leaves for
others. `Prefill` reads one prompt, or several of like length at once, and can be left
after any chunk.

Shapes: B prompts, L positions of the longest, D hidden size, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from ..caches.kv import (
    is_plain,
    positions_in,
    quantize_from,
    reserve,
    restore,
    rotate,
    take,
)
from ..caches.prefixes import Key, Prefix, PrefixCache
from ..device.backend import mx
from ..model.fastvlm import FastVLMModel
from ..model.language import KVCache
from .decode import as_batch
from .prepared import Prepared

FEW_POSITIONS = 32
"""Padding a prompt by this many costs less than a prefill of its own."""

MOST_PADDING = 1.25
"""Prompts of a group are at most this many times as long as its shortest."""


class Unread(Protocol):
    """A prompt that is to be read."""

    @property
    def cache(self) -> KVCache:
        """One cache per layer; what they hold comes before the rest."""

    @property
    def inputs_embeds(self) -> mx.array:
        """(1, L, D)."""

    @property
    def length(self) -> int:
        """L."""


_Unread = TypeVar("_Unread", bound=Unread)


class PromptPrefill:
    """One prompt on its way through the language model, and what it leaves behind.

    Attributes:
        cache: one mlx-lm cache per layer, with room for all; they hold the prefix.
        inputs_embeds: (1, L, D), what is to be read, never empty.
    """

    def __init__(
        self,
        model: FastVLMModel,
        prefixes: PrefixCache,
        request: Prepared,
        max_tokens: int,
    ) -> None:
        self._prefixes = prefixes
        self._request = request
        capacity = len(request.prompt) + max_tokens
        window = request.options.max_kv_size or capacity
        self._rotates = capacity > window
        self.cache = reserve(model.make_cache(), min(capacity, window))
        if request.prefix:
            restore(self.cache, request.prefix.states)
        self.inputs_embeds = request.inputs_embeds(model)

    @property
    def length(self) -> int:
        """Positions to read."""
        return self.inputs_embeds.shape[1]

    @property
    def is_batchable(self) -> bool:
        """Whether its caches are of a kind that mlx-lm can batch."""
        options = self._request.options
        return options.kv_bits is None and options.max_kv_size is None

    def keep_prompt(self, cache: KVCache) -> None:
        """Keep the prompt, now that it is read, for requests that begin as it does.

        Args:
            cache: where it was read.
        """
        self._keep(cache, self._request.keys)

    def keep_answer(self, cache: KVCache, generated: Sequence[int]) -> None:
        """Keep prompt and answer, for the turn that may follow.

        Caches that rotate or are quantized have only the prompt kept: what is taken
        up must be what an uncached request would compute.
        """
        if is_plain(cache) and positions_in(cache) > len(self._request.prompt):
            keys = (*self._request.keys, *generated)[: positions_in(cache)]
            self._keep(cache, keys)

    def rotate_or_quantize(self, cache: KVCache) -> KVCache:
        """Between steps: caches that take no more memory than was asked for."""
        if self._rotates and is_plain(cache):
            cache = rotate(cache, self._request.prompt.kept)
        options = self._request.options
        if options.kv_bits is None:
            return cache
        return quantize_from(
            cache, options.quantized_kv_start, options.kv_group_size, options.kv_bits
        )

    def _keep(self, cache: KVCache, keys: Sequence[Key]) -> None:
        taken = sum(layer.nbytes for layer in cache)
        if not self._request.options.fills_cache or taken > self._prefixes.max_bytes:
            return
        states = take(cache, len(keys))
        mx.eval(states)
        self._prefixes.add(Prefix(tuple(keys), states))


class Prefill:
    """Prompts that are read together; one alone keeps its own caches.

    Shorter prompts are padded on the right, where causal attention keeps the padding
    out of sight; at the end their caches are moved to the right, where answers grow.
    """

    def __init__(self, model: FastVLMModel, prompts: Sequence[Unread]) -> None:
        self._model = model
        self._lengths = [each.length for each in prompts]
        self._longest = max(self._lengths)
        self._last: dict[int, mx.array] = {}  # hidden states (D,) by row
        self._done = 0
        if len(prompts) == 1:
            self.cache, self._embeds = prompts[0].cache, prompts[0].inputs_embeds
        else:
            self.cache, self._embeds = self._together(prompts)

    def advance(self, positions: int) -> bool:
        """Read a chunk of about this many positions of all prompts together.

        Returns:
            Whether everything has been read.
        """
        step = max(positions // len(self._lengths), 1)
        begin, self._done = self._done, min(self._done + step, self._longest)
        part = self._embeds[:, begin : self._done]
        hidden = self._model.hidden_states(part, self.cache)
        for row, length in enumerate(self._lengths):
            if begin < length <= self._done:
                self._last[row] = hidden[row, length - 1 - begin]
        if self._done < self._longest:
            mx.eval(self._last, [layer.state for layer in self.cache])
        return self._done == self._longest

    def logits(self) -> mx.array:
        """Of each prompt's last position, (B, V), when everything has been read."""
        if len(self._lengths) > 1:
            for layer in self.cache:
                layer.finalize()
        rows = mx.stack([self._last[row] for row in range(len(self._lengths))])
        return self._model.head(rows[:, None])[:, -1]

    def extract(self, row: int) -> KVCache:
        """A prompt's caches as they would be alone, after `logits`."""
        if len(self._lengths) == 1:
            return self.cache
        return [layer.extract(row) for layer in self.cache]

    def _together(self, prompts: Sequence[Unread]) -> tuple[KVCache, mx.array]:
        padding = [self._longest - length for length in self._lengths]
        cache = as_batch([each.cache for each in prompts])
        for layer in cache:
            layer.prepare(lengths=self._lengths, right_padding=padding)
        padded = [
            mx.pad(each.inputs_embeds, [(0, 0), (0, pad), (0, 0)])
            for each, pad in zip(prompts, padding, strict=True)
        ]
        return cache, mx.concatenate(padded)


def length_buckets(prompts: Sequence[_Unread]) -> Iterator[list[_Unread]]:
    """Prompts of like length, in which padding costs less than it saves."""
    bucket: list[_Unread] = []
    for prompt in sorted(prompts, key=lambda each: each.length):
        if bucket and prompt.length > MOST_PADDING * bucket[0].length + FEW_POSITIONS:
            yield bucket
            bucket = []
        bucket.append(prompt)
    if bucket:
        yield bucket
