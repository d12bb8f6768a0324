"""ANLS: how near an answer is, letter by letter, to the nearest right one.

The average normalized Levenshtein similarity of DocVQA (Biten et al. 2019,
https://arxiv.org/abs/1905.13648), with the lengths that lmms-eval 0.7.3 divides by.
"""

from collections.abc import Sequence

THRESHOLD = 0.5
"""A similarity below it counts as a wrong word, not as a misread one: 0."""


def anls(answer: str, right: Sequence[str]) -> float:
    """1 for a right answer, less for one with slips, 0 for another one.

    Args:
        right: any of these is right; at least one.
    """
    similarity = max(_similarity(answer, each) for each in right)
    return similarity if similarity >= THRESHOLD else 0.0


def edits(first: str, second: str) -> int:
    """Letters to insert, drop or change between two texts (Levenshtein)."""
    row = list(range(len(second) + 1))
    for place, letter in enumerate(first, 1):
        diagonal, row[0] = row[0], place
        for column, other in enumerate(second, 1):
            change = diagonal + (letter != other)
            diagonal = row[column]
            row[column] = min(change, diagonal + 1, row[column - 1] + 1)
    return row[-1]


def _similarity(answer: str, right: str) -> float:
    longest = max(len(answer), len(right))  # blanks count here, and not in the edits
    distance = edits(_one_blank(answer), _one_blank(right))
    return 1 - distance / longest if longest else 1.0


def _one_blank(text: str) -> str:
    return " ".join(text.lower().split())
