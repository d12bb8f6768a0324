"""Accuracy by resolution, read from a file.

A plain list, a summary that `fastvlm-mlx evaluate` wrote (one resolution each), or the
report of `python -m benchmarks.nano.evaluate --out`. An item of the list:

    {"resolution": 1024, "method": "static", "accuracy": 65.8, "samples": 5000,
     "interval": [64.5, 67.1]}

`method` is "static" or "anyres" and `resolution` the side of the whole picture, so that
four tiles of 1024 and an overview are 2048. Accuracies and intervals are in percent.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.curve.setting import ANYRES, GRID, METHODS, STATIC, Setting


@dataclass(frozen=True)
class Scored:
    """What a model gets right in one setting, in percent, with its 95 % interval."""

    setting: Setting
    accuracy: float
    samples: int
    interval: tuple[float, float]


def read_accuracies(
    files: Sequence[Path], precision: str, tasks: Sequence[str]
) -> list[Scored]:
    """All settings of some files, static first, from the smallest on.

    Args:
        files: each of one of the three kinds.
        precision: which of nano's report.
        tasks: of nano's report; none means all of them.

    Raises:
        SystemExit: a file is none of these, or a setting is there twice.
    """
    found = [each for file in files for each in _read(file, precision, tasks)]
    settings = [str(each.setting) for each in found]
    twice = sorted({each for each in settings if settings.count(each) > 1})
    if twice:
        raise SystemExit(
            f"{', '.join(twice)} is in the files twice; expected each setting once."
        )
    return sorted(found, key=lambda each: each.setting.order)


def _read(file: Path, precision: str, tasks: Sequence[str]) -> list[Scored]:
    try:
        return _scored(json.loads(file.read_text("utf-8")), precision, tasks)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise SystemExit(
            f"{file} has no accuracies ({type(error).__name__}: {error}); expected a "
            "list of resolution, method, accuracy, samples and interval, a summary of "
            "`fastvlm-mlx evaluate`, or a report of benchmarks.nano.evaluate."
        ) from None


def _scored(content: Any, precision: str, tasks: Sequence[str]) -> list[Scored]:
    if isinstance(content, list):
        return [_of_item(item) for item in content]
    if "precisions" in content:
        return _of_nano(content["precisions"][precision], tasks)
    return [_of_summary(content)]


def _of_item(item: dict[str, Any]) -> Scored:
    if item["method"] not in METHODS:
        raise ValueError(f"method is {item['method']!r}, not {' or '.join(METHODS)}")
    low, high = item["interval"]
    return Scored(
        Setting(item["method"], int(item["resolution"])),
        float(item["accuracy"]),
        int(item["samples"]),
        (float(low), float(high)),
    )


def _of_summary(summary: dict[str, Any]) -> Scored:
    (height, width), options = summary["resolution"], summary.get("options", {})
    if height != width or options.get("keep_aspect"):
        raise ValueError(f"pictures are {height}x{width} or by their shape, not square")
    tiled = options.get("anyres", False)
    item = {
        "resolution": GRID * height if tiled else height,  # there it is each tile's
        "method": ANYRES if tiled else STATIC,
        "accuracy": summary["score"],
        "samples": summary["questions"],
        "interval": summary["interval"],
    }
    return _of_item(item)


def _of_nano(measured: dict[str, Any], tasks: Sequence[str]) -> list[Scored]:
    return [
        mean_of_tasks(
            Setting(STATIC, int(pixels)),
            [found["tasks"][task]["all"] for task in tasks or found["tasks"]],
        )
        for pixels, found in measured.items()
    ]


def mean_of_tasks(setting: Setting, scores: Sequence[dict[str, Any]]) -> Scored:
    """Every task counts the same; the errors of tasks are independent."""
    mean = sum(score["percent"] for score in scores) / len(scores)
    below, above = (
        math.hypot(*(score["percent"] - score["interval"][end] for score in scores))
        / len(scores)
        for end in (0, 1)
    )
    samples = sum(score["asked"] for score in scores)
    return Scored(setting, mean, samples, (mean - below, mean + above))
