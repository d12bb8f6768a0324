"""What training never draws: a tenth of all words and values, chosen by a hash.

It depends on the value alone, so it covers values that no list contains.
"""

import hashlib
from collections.abc import Callable
from random import Random
from typing import Literal, TypeVar

Value = TypeVar("Value")
Split = Literal["train", "test"]

ONE_IN = 10
TRIES = 200  # far more than one in ten ever needs


def held_out(*value: object) -> bool:
    """Whether a value (a word, or several parts together) is kept for the test."""
    text = "/".join(str(part) for part in value)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest) % ONE_IN == 0


def unseen_wanted(random: Random, split: Split) -> bool:
    """Whether to draw a held-out value next: every other time in the test split."""
    return split == "test" and random.random() < 0.5


def draw_value(
    draw: Callable[[], Value], unseen: bool, is_unseen: Callable[[Value], bool]
) -> Value:
    """Draw until `is_unseen` of the value equals `unseen`.

    Raises:
        RuntimeError: no value in `TRIES` draws did.
    """
    for _ in range(TRIES):
        value = draw()
        if is_unseen(value) == unseen:
            return value
    raise RuntimeError(
        f"{TRIES} values drawn, found none with held out = {unseen}; "
        "let the values vary more"
    )


def novelty(value: bool, font: bool = False) -> str:
    """The end of a question's kind: is its value held out, and its font?"""
    if value and font:
        return "-unseen-both"
    if font:
        return "-unseen-font"
    return "-unseen" if value else ""
