"""Prompts that were read before: the longest common beginning is not read again.

A position is known by what stands there: a token id, or the digest of the image
that it is part of. Two prompts share their KV up to the first position where these
differ, so another image under the same words is another prompt. Held in memory
only, bounded in bytes, least recently used first out.
"""

import functools
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from .kv import LayerStates, shorten, state_bytes

Key = int | str
"""What stands at a position: a token id, or an image's digest."""


@dataclass(frozen=True, eq=False)
class Prefix:
    """The beginning of a prompt, read: one key per position, and its KV."""

    keys: tuple[Key, ...]
    states: LayerStates

    def __len__(self) -> int:
        return len(self.keys)

    @functools.cached_property
    def nbytes(self) -> int:
        """Bytes of its KV."""
        return state_bytes(self.states)

    def cut(self, positions: int) -> "Prefix":
        """Its first positions; the arrays are views."""
        if positions == len(self):
            return self
        return Prefix(self.keys[:positions], shorten(self.states, positions))


EMPTY = Prefix((), ())


class PrefixCache:
    """Prompts already read. Every method may be called from any thread."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.hits = self.misses = 0
        self.reused = 0  # positions, over all hits
        self._entries: list[Prefix] = []  # the last one was used last
        self._lock = threading.Lock()

    def find(self, keys: Sequence[Key]) -> Prefix:
        """The longest beginning of `keys` that is here; EMPTY when there is none."""
        wanted = tuple(keys)
        with self._lock:
            shared = [common_length(wanted, entry.keys) for entry in self._entries]
            length = max(shared, default=0)
            self._count(length)
            if not length:
                return EMPTY
            entry = self._entries.pop(shared.index(length))
            self._entries.append(entry)
        return entry.cut(length)

    def add(self, prefix: Prefix) -> None:
        """Keep a prompt; those that it begins with are then here twice, and go."""
        if prefix.nbytes > self.max_bytes:
            return
        with self._lock:
            apart, around = [], []
            for entry in self._entries:
                shared = common_length(prefix.keys, entry.keys)
                if shared == len(prefix):
                    around.append(entry)
                elif shared < len(entry):
                    apart.append(entry)
            self._entries = apart + (around or [prefix])
            self._evict()

    def last(self) -> Prefix:
        """The one used last; EMPTY when there is none."""
        with self._lock:
            return self._entries[-1] if self._entries else EMPTY

    def clear(self) -> None:
        """Forget every prompt."""
        with self._lock:
            self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(entry.nbytes for entry in list(self._entries))

    def _count(self, length: int) -> None:
        self.hits += bool(length)
        self.misses += not length
        self.reused += length

    def _evict(self) -> None:
        held = self.nbytes
        while held > self.max_bytes:
            held -= self._entries.pop(0).nbytes


def common_length(first: Sequence[Key], second: Sequence[Key]) -> int:
    """How many positions two prompts share from the start.

    By halving, since comparing slices runs in C and a loop over positions does not.
    """
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
