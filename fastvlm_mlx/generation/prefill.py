"""Prompts read into KV caches, beginning where an earlier request has read before."""

from collections.abc import Sequence

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
from ..device.backend import device_lock, mx
from ..model.fastvlm import FastVLMModel
from ..model.language import KVCache
from .prepared import Prepared


class Reading:
    """One prompt on its way through the language model, and what it leaves behind."""

    def __init__(
        self, model: FastVLMModel, prefixes: PrefixCache, request: Prepared
    ) -> None:
        self._model = model
        self._prefixes = prefixes
        self._request = request
        self._cache: KVCache = []
        self._rotates = False

    def begin(self, max_tokens: int) -> tuple[KVCache, mx.array]:
        """Caches that hold the prefix, with room for all, and the embeddings to come.

        Returns:
            One mlx-lm KVCache per layer, and (1, L, D), never empty.
        """
        request = self._request
        capacity = len(request.prompt) + max_tokens
        window = request.options.max_kv_size or capacity
        self._rotates = capacity > window
        self._cache = reserve(self._model.make_cache(), min(capacity, window))
        if request.prefix:
            restore(self._cache, request.prefix.states)
        return self._cache, request.inputs_embeds(self._model)

    def keep_prompt(self, cache: KVCache | None = None) -> None:
        """Keep the prompt, now that it is read, for requests that begin as it does.

        Args:
            cache: where it was read, if that was beside others.
        """
        self._cache = cache or self._cache
        self._remember(self._request.keys)

    def shrink(self, cache: KVCache) -> KVCache:
        """Between steps: caches that take no more memory than was asked for."""
        if self._rotates and is_plain(cache):
            cache = rotate(cache, self._request.prompt.kept)
        self._cache = quantize_from(cache, self._request.options)
        return self._cache

    def finish(self, generated: Sequence[int]) -> None:
        """Keep prompt and answer, for the turn that may follow.

        Caches that rotate or are quantized have only the prompt kept: what is taken
        up must be what an uncached request would compute.
        """
        cache, request = self._cache, self._request
        if cache and is_plain(cache) and positions_in(cache) > len(request.prompt):
            keys = (*request.keys, *generated)[: positions_in(cache)]
            self._remember(keys)

    def _remember(self, keys: Sequence[Key]) -> None:
        taken = sum(layer.nbytes for layer in self._cache)
        if not self._request.options.use_cache or taken > self._prefixes.max_bytes:
            return
        with device_lock:
            states = take(self._cache, len(keys))
            mx.eval(states)
        self._prefixes.add(Prefix(tuple(keys), states))
