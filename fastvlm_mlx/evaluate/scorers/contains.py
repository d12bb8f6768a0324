"""OCRBench: a right text somewhere in the answer is enough.

Liu et al. 2023, https://arxiv.org/abs/2305.07895; wide forms as in lmms-eval 0.7.3.
"""

from collections.abc import Sequence

_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
"""Fullwidth signs of East Asian type as ASCII."""


def contains(answer: str, right: Sequence[str]) -> float:
    """1 if one of the right texts is in the answer, in any case and width, else 0."""
    said = _plain(answer)
    return float(any(_plain(each) in said for each in right))


def contains_formula(answer: str, right: Sequence[str]) -> float:
    """The same for handwritten formulas (HME100k): case counts and blanks do not."""
    said = _tight(answer)
    return float(any(_tight(each) in said for each in right))


def _plain(text: str) -> str:
    return text.translate(_WIDE).lower().strip().replace("\n", " ")


def _tight(text: str) -> str:
    return text.strip().replace("\n", "").replace(" ", "")
