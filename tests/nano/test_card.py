"""The model card's tables: which questions a row counts, and what is printed."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.nano import card
from benchmarks.nano.data import tasks
from benchmarks.nano.report.accuracy import Accuracy


def score(right: int, asked: int) -> dict[str, Any]:
    return {"right": right, "asked": asked, "percent": 100 * right / asked}


TEXT = {
    "all": score(6, 10),
    "text/word": score(3, 4),
    "text/word-unseen": score(1, 1),
    "text/word-unseen-font": score(1, 3),
    "text/word-unseen-both": score(1, 2),
}
REPORT = {
    "precisions": {
        "float32": {"128": {"tasks": {"text": {"all": score(9, 10)}}}},
        "shipped": {
            "128": {"tasks": {"text": TEXT}},
            "64": {"tasks": {"text": {**TEXT, "all": score(1, 10)}}},
        },
    }
}


@pytest.mark.parametrize(
    ("kind", "pattern", "expected"),
    [
        ("text/word", "text/word", True),
        ("text/word-unseen-font", "text/word", True),
        ("text/words", "text/word", False),
        ("shapes/position-yes-no-unseen", "shapes/position", False),
        ("shapes/position-yes-no-unseen", "shapes/position-yes-no", True),
        ("text/word-unseen", "text/word:seen", True),
        ("text/word-unseen-both", "text/word:seen", False),
        ("text/word-unseen-both", "text/word:unseen", True),
        ("easy-vqa/shape", "easy-vqa/*", True),
        ("captions/text", "text/*", False),
    ],
)
def test_what_a_row_counts(kind: str, pattern: str, expected: bool) -> None:
    assert card.belongs(kind, pattern) is expected


def test_rows_add_up_their_kinds() -> None:
    assert card.count({"text": TEXT}, ["text/word:seen"]) == Accuracy(4, 5)
    assert card.count({"text": TEXT}, ["text/word:unseen"]) == Accuracy(2, 5)
    assert card.count({"text": TEXT}, ["shapes/count"]) == Accuracy(0, 0)


def test_every_kind_of_every_task_is_in_a_row_once() -> None:
    left_out = {"text/letter"}  # of a word that another question reads whole
    for task in tasks.TASKS:
        for index in range(40):
            for asked in tasks.draw(task, "test", 0, index).questions:
                if asked.kind.partition("-unseen")[0] in left_out:
                    continue
                rows = [
                    name
                    for name, patterns in card.ROWS.items()
                    if any(card.belongs(asked.kind, each) for each in patterns)
                ]
                assert len(rows) == 1, asked.kind


def test_the_best_resolution_and_both_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(REPORT))
    monkeypatch.setattr("sys.argv", ["card", str(path)])
    card.main()
    printed = capsys.readouterr().out
    assert "| a word, fonts seen in training | 80.0 (38–96) |" in printed
    assert "At 128 pixels:" in printed
    assert "| text | 90.0 | 60.0 | 10 |" in printed


def test_a_report_without_the_precision_names_those_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "report.json"
    file.write_text(json.dumps(REPORT), encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["card", str(file), "--precision", "4-bit"])
    with pytest.raises(SystemExit, match="no '4-bit'; expected --precision float32 or"):
        card.main()
