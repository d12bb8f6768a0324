"""What training never sees: a tenth of all words and values, chosen by a hash.

The choice hangs on the value alone, not on a list, so it holds for values that nobody
has written down and cannot shift when a list grows.
"""

import hashlib
from collections.abc import Callable
from random import Random
from typing import Literal, TypeVar

Value = TypeVar("Value")
Split = Literal["train", "test"]

ONE_IN = 10
TRIES = 200  # Far more than one in ten ever needs.


def held_out(*value: object) -> bool:
    """Say whether a value (a word, or several parts together) is kept for the test."""
    text = "/".join(str(part) for part in value)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest) % ONE_IN == 0


def unseen_wanted(random: Random, split: Split) -> bool:
    """Say whether the next value shall be a held-out one: in the test every other."""
    return split == "test" and random.random() < 0.5


def draw_value(
    draw: Callable[[], Value], unseen: bool, is_unseen: Callable[[Value], bool]
) -> Value:
    """Draw until the value is held out, or is not.

    Args:
        draw: makes one value.
        unseen: whether the value shall be a held-out one.
        is_unseen: says of a value whether it is.

    Raises:
        RuntimeError: `draw` never gave such a value.
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
    """Name what of a test question was never trained on, as the end of its kind.

    Args:
        value: a held-out word, number or combination is asked about.
        font: it is written in a held-out font.
    """
    if value and font:
        return "-unseen-both"
    if font:
        return "-unseen-font"
    return "-unseen" if value else ""
