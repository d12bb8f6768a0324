"""One token after another, for one answer or for several at once.

`DecodeOne` is an answer with KV caches of its own, of any kind. In a `DecodeBatch` each
step of the model gives every answer a token: mlx-lm's batch caches keep rows of
different lengths side by side, shorter ones to the right and masked on the left, so a
row never sees another and its positions are its own.

Shapes: B rows, V vocabulary.
"""

from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Generic, TypeVar

from ..device.backend import mx, runs_ahead, start
from ..model.fastvlm import FastVLMModel
from ..model.language import KVCache
from .sampling import Sampler, sample_rows

_Key = TypeVar("_Key", bound=Hashable)


class DecodeOne(Generic[_Key]):
    """An answer that is decoded by itself.

    Args:
        cache: KV caches that hold the prompt.
        logits: of the prompt's last position, (1, V).
        max_tokens: the tokens that will be asked for at most.
        between_steps: may exchange the caches before each step; None says that they
            stay, and may join a batch.
    """

    def __init__(
        self,
        model: FastVLMModel,
        key: _Key,
        cache: KVCache,
        logits: mx.array,
        sampler: Sampler,
        max_tokens: int,
        between_steps: Callable[[KVCache], KVCache] | None = None,
    ) -> None:
        self._model = model
        self._left = max_tokens
        self._between_steps = between_steps
        self.keys = (key,)
        self.sampler = sampler
        self.cache = cache
        self._token = sampler(logits)  # (1,), not in the cache yet
        self._given = False  # whether `step` has given this token
        start(self._token)

    @property
    def is_batchable(self) -> bool:
        """Whether it may go on in a batch."""
        return self._between_steps is None

    def step(self) -> list[tuple[_Key, int]]:
        """The next token, with the key. On a GPU the one after it is begun."""
        token = self.next_token()
        self._given = True
        self._left -= 1
        if self._left and runs_ahead():
            self._advance()
        return [(self.keys[0], int(token.item()))]  # type: ignore[arg-type]

    def next_token(self) -> mx.array:
        """(1,), the one that `step` gives next; it is not in the cache yet."""
        if self._given:
            self._advance()
        return self._token

    def extract(self, key: _Key) -> KVCache:
        """Its caches."""
        return self.cache

    def _advance(self) -> None:
        if self._between_steps is not None:
            self.cache = self._between_steps(self.cache)
        logits = self._model.decode(self._token, self.cache)
        self._token, self._given = self.sampler(logits), False
        start(self._token)


class DecodeBatch(Generic[_Key]):
    """The answers that are decoded together, each known by a key."""

    def __init__(self, model: FastVLMModel) -> None:
        self._model = model
        self._clear()

    def _clear(self) -> None:
        self.keys: list[_Key] = []
        """Whose answers these are, in the order of the rows."""
        self._samplers: list[Sampler] = []
        self._cache: KVCache = []
        self._tokens = mx.array([], dtype=mx.uint32)  # (B,), not in the cache yet
        self._given = False  # whether `step` has given these tokens

    def join(
        self,
        keys: Sequence[_Key],
        cache: KVCache,
        tokens: mx.array,
        samplers: Sequence[Sampler],
    ) -> None:
        """Take in answers whose prompts were read.

        Args:
            cache: mlx-lm's batch caches, B rows.
            tokens: (B,), their first ones, or the next if they were decoded elsewhere.
        """
        if self._given:
            self._advance()
        if self.keys:
            for layer, joining in zip(self._cache, cache, strict=True):
                layer.extend(joining)
            tokens = mx.concatenate([self._tokens, tokens])
        else:
            self._cache = cache
        self._tokens = tokens
        self.keys += keys
        self._samplers += samplers
        self._compute()

    def step(self) -> list[tuple[_Key, int]]:
        """The next token of every row, with its key.

        On a GPU the tokens after these are computed while the host handles these.
        """
        if self._given:
            self._advance()
        tokens, self._given = self._tokens, True
        if runs_ahead():
            self._advance()
        ids: list[int] = tokens.tolist()  # type: ignore[assignment]
        return list(zip(self.keys, ids, strict=True))

    def drop(self, keys: Collection[_Key]) -> None:
        """Remove rows, and what they hold."""
        keep = [row for row, key in enumerate(self.keys) if key not in keys]
        if len(keep) == len(self.keys):
            return
        if not keep:
            self._clear()
            return
        self.keys = [self.keys[row] for row in keep]
        self._samplers = [self._samplers[row] for row in keep]
        self._tokens = self._tokens[mx.array(keep, dtype=mx.int32)]
        for layer in self._cache:
            layer.filter(keep)
        self._compute()

    def extract(self, key: _Key) -> KVCache:
        """A row's caches as they would be alone."""
        row = self.keys.index(key)
        return [layer.extract(row) for layer in self._cache]

    def _advance(self) -> None:
        logits = self._model.decode(self._tokens, self._cache)
        self._tokens, self._given = sample_rows(self._samplers, logits), False
        start(self._tokens)

    def _compute(self) -> None:
        held = [each for layer in self._cache for each in layer.state]
        start(self._tokens, *(each for each in held if isinstance(each, mx.array)))


class Decoding(Generic[_Key]):
    """All answers under way: one by itself, several in a batch.

    Those whose caches cannot be batched stay by themselves.
    """

    def __init__(self, model: FastVLMModel) -> None:
        self._model = model
        self._batch: DecodeBatch[_Key] = DecodeBatch(model)
        self._alone: list[DecodeOne[_Key]] = []

    @property
    def keys(self) -> list[_Key]:
        """Whose answers these are."""
        return [key for group in self.groups() for key in group.keys]

    def groups(self) -> "list[DecodeBatch[_Key] | DecodeOne[_Key]]":
        """What takes a step of the model each."""
        return [*([self._batch] if self._batch.keys else []), *self._alone]

    def add(self, one: DecodeOne[_Key]) -> None:
        """Take in an answer."""
        if not one.is_batchable:
            self._alone.append(one)
            return
        free = [each for each in self._alone if each.is_batchable]
        if not free and not self._batch.keys:
            self._alone.append(one)
            return
        for each in (*free, one):
            token = each.next_token()  # which may still be computed from its caches
            self._batch.join(each.keys, as_batch([each.cache]), token, [each.sampler])
        self._alone = [each for each in self._alone if not each.is_batchable]

    def add_batch(
        self,
        keys: Sequence[_Key],
        cache: KVCache,
        logits: mx.array,
        samplers: Sequence[Sampler],
    ) -> None:
        """Take in answers whose prompts were read together.

        Args:
            cache: mlx-lm's batch caches.
            logits: of each prompt's last position, (B, V).
        """
        self._batch.join(keys, cache, sample_rows(samplers, logits), samplers)
        for each in [each for each in self._alone if each.is_batchable]:
            self._alone.remove(each)
            self.add(each)

    def drop(self, keys: Collection[_Key]) -> None:
        """Remove answers, and what they hold."""
        self._batch.drop(keys)
        self._alone = [each for each in self._alone if each.keys[0] not in keys]

    def extract(self, key: _Key) -> KVCache:
        """The caches of an answer, as they would be by itself."""
        (group,) = [each for each in self.groups() if key in each.keys]
        return group.extract(key)


def as_batch(caches: Sequence[KVCache]) -> KVCache:
    """Plain caches of several prompts as mlx-lm's batch caches, a row for each."""
    layers = zip(*caches, strict=True)
    return [layer[0].merge(layer) for layer in layers]
