"""Answers that grow together: each step of the model gives every one of them a token.

mlx-lm's batch caches keep rows of different lengths side by side: shorter rows stand
to the right, and what is left of them is masked out, so a row never sees another and
its positions are its own. Rows come and go between any two steps. This file knows no
picture and no text.

Shapes: B rows, L positions of the longest prompt, D hidden size, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..device.backend import mx, runs_ahead, start
from ..model.fastvlm import FastVLMModel
from ..model.language import KVCache
from .generate import Sampler, likeliest

FEW_POSITIONS = 32
"""Padding a prompt by so few costs less than a prefill of its own."""

MOST_PADDING = 1.25
"""Prompts of a group are at most this many times as long as its shortest."""


@dataclass(frozen=True, eq=False)
class Start:
    """An answer about to begin."""

    key: int  # what its tokens will be known by
    inputs_embeds: mx.array  # (1, L, D), what the cache does not hold yet
    cache: KVCache  # empty, or the beginning of the prompt
    sampler: Sampler

    @property
    def length(self) -> int:
        """Positions to prefill."""
        return self.inputs_embeds.shape[1]


class Rows:
    """The answers under way.

    Nothing is left uncomputed when a method returns, so each call may come from
    another thread, one at a time.
    """

    def __init__(self, model: FastVLMModel) -> None:
        self._model = model
        self._keys: list[int] = []
        self._samplers: list[Sampler] = []
        self._cache: KVCache = []
        self._tokens = mx.array([], dtype=mx.uint32)  # (B,), not in the cache yet
        self._told = False  # whether `step` has given these tokens

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, group: Sequence[Start], step: int) -> None:
        """Prefill prompts of like length together, and let them join.

        Args:
            step: positions at a time, over all of them.
        """
        if self._told:
            self._advance()
        cache, logits = prefill_together(self._model, group, step)
        samplers = [start.sampler for start in group]
        self._join(cache, sample_rows(samplers, logits))
        self._keys += [start.key for start in group]
        self._samplers += samplers
        self._compute()

    def step(self) -> list[tuple[int, int]]:
        """The next token of every row, with its key.

        On a GPU the tokens after these are computed while the host handles these.
        """
        if self._told:
            self._advance()
        tokens, self._told = self._tokens, True
        if runs_ahead():
            self._advance()
        ids: list[int] = tokens.tolist()  # type: ignore[assignment]
        return list(zip(self._keys, ids, strict=True))

    def drop(self, keys: set[int]) -> None:
        """Let rows go whose answers have ended."""
        keep = [row for row, key in enumerate(self._keys) if key not in keys]
        if len(keep) == len(self):
            return
        self._keys = [self._keys[row] for row in keep]
        self._samplers = [self._samplers[row] for row in keep]
        self._tokens = self._tokens[mx.array(keep, dtype=mx.int32)]
        if not keep:
            self._cache, self._told = [], False
        for layer in self._cache:
            layer.filter(keep)
        self._compute()

    def beginning(self, key: int) -> KVCache:
        """A row's caches as they would be alone."""
        row = self._keys.index(key)
        return [layer.extract(row) for layer in self._cache]

    def _advance(self) -> None:
        logits = self._model.decode(self._tokens, self._cache)
        self._tokens, self._told = sample_rows(self._samplers, logits), False
        start(self._tokens)

    def _join(self, cache: KVCache, tokens: mx.array) -> None:
        if not self:
            self._cache, self._tokens = cache, tokens
            return
        for layer, joining in zip(self._cache, cache, strict=True):
            layer.extend(joining)
        self._tokens = mx.concatenate([self._tokens, tokens])

    def _compute(self) -> None:
        held = [each for layer in self._cache for each in layer.state]
        start(self._tokens, *(each for each in held if isinstance(each, mx.array)))


def sample_rows(samplers: Sequence[Sampler], logits: mx.array) -> mx.array:
    """Each row by its own sampler: (B, V) -> (B,)."""
    if all(sampler is likeliest for sampler in samplers):
        return likeliest(logits)
    rows = [sampler(logits[row : row + 1]) for row, sampler in enumerate(samplers)]
    return mx.concatenate(rows)


def alike(starts: Sequence[Start]) -> Iterator[list[Start]]:
    """Groups of like length, in which padding costs less than it saves."""
    group: list[Start] = []
    for start_ in sorted(starts, key=lambda each: each.length):
        if group and start_.length > MOST_PADDING * group[0].length + FEW_POSITIONS:
            yield group
            group = []
        group.append(start_)
    if group:
        yield group


def prefill_together(
    model: FastVLMModel, group: Sequence[Start], step: int
) -> tuple[KVCache, mx.array]:
    """One prefill for prompts of different lengths: their cache, and logits (B, V).

    Shorter prompts are padded on the right, where causal attention keeps the padding
    out of sight; the cache then moves them to the right end, where they will grow.
    """
    lengths = [each.length for each in group]
    padding = [max(lengths) - length for length in lengths]
    layers = zip(*(each.cache for each in group), strict=True)
    cache = [caches[0].merge(caches) for caches in layers]
    for layer in cache:
        layer.prepare(lengths=lengths, right_padding=padding)
    embeds = mx.concatenate(
        [_padded(each, pad) for each, pad in zip(group, padding, strict=True)]
    )
    logits = model.prefill_rows(embeds, lengths, cache, step // len(group))
    for layer in cache:
        layer.finalize()
    return cache, logits


def _padded(start_: Start, padding: int) -> mx.array:
    return mx.pad(start_.inputs_embeds, [(0, 0), (0, padding), (0, 0)])
