"""Answers that are right only if they are the right words."""

import string
from collections.abc import Sequence

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def same_text(answer: str, right: str) -> float:
    """1 if equal to the letter, else 0."""
    return float(answer == right)


def same_words(answer: str, right: str) -> float:
    """1 if equal in any case and with any punctuation, else 0."""
    return float(_bare(answer) == _bare(right))


def any_same_words(answer: str, right: Sequence[str]) -> float:
    """1 if `same_words` as one of several right answers, else 0."""
    return max(same_words(answer, each.strip()) for each in right)


def same_yes_or_no(answer: str, right: str) -> float:
    """1 for the same word in any case, as POPE has it: "Yes." is not "yes"."""
    return float(answer.lower() == right.strip().lower())


def _bare(text: str) -> str:
    return text.lower().translate(_PUNCTUATION)
