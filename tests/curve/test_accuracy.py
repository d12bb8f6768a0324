"""Accuracies in each of the three forms, and in none."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.curve.accuracy import Scored, read_accuracies
from benchmarks.curve.setting import Setting

TILES = {
    "resolution": 256,
    "method": "anyres",
    "accuracy": 70.0,
    "samples": 50,
    "interval": [60.0, 80.0],
}
WHOLE = {
    "resolution": 128,
    "method": "static",
    "accuracy": 50,
    "samples": 50,
    "interval": [40, 60],
}
SUMMARY = {
    "task": "textvqa",
    "score": 65.8,
    "interval": [64.5, 67.1],
    "questions": 5000,
    "resolution": [1024, 1024],
}


def score(percent: float, low: float, high: float) -> dict[str, Any]:
    return {"percent": percent, "interval": [low, high], "asked": 100, "right": 0}


TASKS = {
    "text": {"all": score(40, 37, 43)},
    "charts": {"all": score(60, 56, 68)},
}
REPORT = {"precisions": {"shipped": {"128": {"tasks": TASKS}}}}


def read(folder: Path, *contents: Any, tasks: tuple[str, ...] = ()) -> list[Scored]:
    files = [folder / f"{place}.json" for place in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_text(json.dumps(content), encoding="utf-8")
    return read_accuracies(files, "shipped", tasks)


def test_a_list_is_sorted_static_first(tmp_path: Path) -> None:
    assert read(tmp_path, [TILES, WHOLE]) == [
        Scored(Setting("static", 128), 50.0, 50, (40.0, 60.0)),
        Scored(Setting("anyres", 256), 70.0, 50, (60.0, 80.0)),
    ]


def test_a_summary_joins_a_list(tmp_path: Path) -> None:
    found = read(tmp_path, [TILES, WHOLE], SUMMARY)
    assert found[1] == Scored(Setting("static", 1024), 65.8, 5000, (64.5, 67.1))


def test_a_summary_of_tiles_has_the_side_of_each(tmp_path: Path) -> None:
    (found,) = read(tmp_path, {**SUMMARY, "options": {"anyres": True}})
    assert found.setting == Setting("anyres", 2048)


def test_tasks_of_nano_count_the_same(tmp_path: Path) -> None:
    """Half-widths 3 and 4 below, 3 and 8 above: 5 and 8.54, halved."""
    (found,) = read(tmp_path, REPORT)
    assert (found.setting, found.samples) == (Setting("static", 128), 200)
    assert found.accuracy == 50
    assert found.interval == pytest.approx((47.5, 54.272), abs=1e-3)


def test_one_task_of_nano(tmp_path: Path) -> None:
    (found,) = read(tmp_path, REPORT, tasks=("charts",))
    assert (found.accuracy, found.interval) == (60, (56, 68))


@pytest.mark.parametrize(
    "content",
    [
        {},
        [1],
        "text",
        [{**WHOLE, "method": "tiles"}],
        [{**WHOLE, "interval": [1]}],
        {**SUMMARY, "resolution": [512, 768]},
        {**SUMMARY, "options": {"keep_aspect": True}},
        {"precisions": {"4-bit": {}}},
    ],
)
def test_what_is_no_accuracy_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(SystemExit, match=r"0\.json has no accuracies"):
        read(tmp_path, content)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="FileNotFoundError"):
        read_accuracies([tmp_path / "none.json"], "shipped", ())


def test_a_setting_is_there_once(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="static 128 is in the files twice"):
        read(tmp_path, [WHOLE], [WHOLE, TILES])
