"""ChartQA's relaxed accuracy: numbers read from a chart may be 5 % off.

Masry et al. 2022, https://arxiv.org/abs/2203.10244, section 5.1.
"""

TOLERANCE = 0.05


def relaxed(answer: str, right: str) -> float:
    """1 or 0. Numbers within 5 % of each other are equal, and texts in any case.

    "12%" is 0.12, so it does not equal "12"; nothing is near 0 but "0" itself.
    """
    said, true = _number(answer), _number(right)
    if said is not None and true:
        return float(abs(said - true) / abs(true) <= TOLERANCE)
    return float(answer.lower() == right.lower())


def _number(text: str) -> float | None:
    percent = text.endswith("%")
    try:
        return float(text.rstrip("%")) / 100 if percent else float(text)
    except ValueError:
        return None
