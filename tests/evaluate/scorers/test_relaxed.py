"""ChartQA's five percent."""

import pytest

from fastvlm_mlx.evaluate.scorers.relaxed import relaxed


@pytest.mark.parametrize(
    ("answer", "right", "score"),
    [
        ("105", "100", 1),
        ("105.1", "100", 0),
        ("95", "100", 1),
        ("-100", "100", 0),
        ("12%", "0.12", 1),
        ("12", "12%", 0),
        ("0", "0", 1),
        ("0.0", "0", 0),  # nothing is within 5 % of zero, so texts are compared
        ("Yes", "yes", 1),
        ("yes.", "yes", 0),
        ("1,000", "1000", 0),  # no number to either side's reading
        ("red", "12", 0),
        ("nan", "1", 0),
    ],
)
def test_relaxed(answer: str, right: str, score: int) -> None:
    assert relaxed(answer, right) == score
