"""What the FastVLM paper reports for the released checkpoints, as data.

Rows of Table 6 by their number there, with Tables 7 and 11 where these have more, of
arXiv 2412.13303v2; percent. The model cards' figures are of another harness and differ.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PAPER, CARD = "arXiv 2412.13303v2", "Hugging Face model card"


@dataclass(frozen=True)
class PaperRow:
    """What was reported for one checkpoint at one resolution."""

    row: str  # "R5" is the fifth of Table 6
    size: str  # of the language model: "0.5", "1.5" or "7"
    stage: int  # of training; the checkpoints' names have it
    resolution: int
    scores: Mapping[str, float]  # by task
    card: Mapping[str, float]


_TABLE_6 = "gqa scienceqa textvqa pope vqav2 docvqa mmmu seedbench".split()
_TABLE_7 = "chartqa ocrbench textvqa docvqa infovqa mmmu ai2d scienceqa seedbench"
_CARD = (
    "ai2d scienceqa mmmu vqav2 chartqa textvqa infovqa docvqa ocrbench realworldqa "
    "seedbench"
)


def _named(tasks: str | list[str], figures: str) -> dict[str, float]:
    names = tasks.split() if isinstance(tasks, str) else tasks
    return dict(zip(names, map(float, figures.split()), strict=True))


def _row(
    row: str, size: str, stage: int, table_6: str, more: Mapping[str, float], card: str
) -> PaperRow:
    scores = {**more, **_named(_TABLE_6, table_6)}
    return PaperRow(row, size, stage, 1024, scores, _named(_CARD, card) if card else {})


ROWS = (
    _row("R4", "0.5", 2, "63.1 81.5 62.9 86.6 78.8 70.4 32.9 69.2", {}, ""),
    _row(
        "R5",
        "0.5",
        3,
        "62.7 82.0 65.8 86.2 78.6 79.1 33.6 69.3",
        _named(_TABLE_7, "71.4 55.8 65.8 79.1 43.3 33.6 66.0 82.0 69.3"),
        "68.0 85.2 33.9 76.3 76.0 64.5 46.4 82.5 63.9 56.1 71.0",
    ),
    _row("R12", "1.5", 2, "64.3 89.9 69.0 87.8 80.7 75.6 39.1 73.1", {}, ""),
    _row(
        "R13",
        "1.5",
        3,
        "64.3 92.9 71.2 87.8 80.9 84.2 38.0 72.6",
        _named(_TABLE_7, "69.5 61.2 71.2 84.2 49.6 38.0 76.6 92.9 72.6"),
        "77.4 94.4 37.8 79.1 80.1 70.4 59.7 88.3 70.2 61.2 74.2",
    ),
    _row("R41", "7", 2, "65.2 95.7 73.4 86.9 81.6 82.7 47.3 74.1", {}, ""),
    _row(
        "R42",
        "7",
        3,
        "64.1 96.8 76.1 87.2 81.9 88.0 44.0 74.5",
        _named("chartqa ocrbench infovqa", "78.1 67.3 55.1"),
        "83.6 96.7 45.4 80.8 85.0 74.9 75.8 93.2 73.1 67.2 75.4",
    ),
)

_NAME = re.compile(
    r"(?:llava-)?fastv(?:lm|ithd)[-_](?P<size>0\.5|1\.5|7)b"
    r"(?P<rest>(?:[-_](?:stage[-_]?\d|int\d|q\d|\d-?bits?|fp16|bf16|mlx))*)",
    re.IGNORECASE,
)
"""Names that Apple gave, with what converters add; a fine-tuned model's says more."""
_STAGE = re.compile(r"stage[-_]?(\d)", re.IGNORECASE)
_HUB_STAGE = 3
"""What hub ids hold; they do not say it."""


def paper_row(names: Iterable[str]) -> PaperRow | None:
    """The row of a checkpoint, by what it or its source is called.

    >>> paper_row(["llava-fastvithd_0.5b_stage2"]).row
    'R4'
    """
    for name in names:
        found = _NAME.fullmatch(Path(name).name)
        if found:
            stage = _STAGE.search(found["rest"])
            key = found["size"], int(stage[1]) if stage else _HUB_STAGE
            return next((row for row in ROWS if (row.size, row.stage) == key), None)
    return None
