"""How long work reports what is done: one type for all of it."""

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[int, int], None]
"""Called with what is done so far and in all: bytes, answers, steps."""


def unreported(done: int, total: int) -> None:
    """A Progress that nobody looks at."""
