"""What the answers to a task come to: the figure and its interval."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from .interval import Counts, Interval, bootstrap, bootstrap_mean, wilson
from .task import Judging, Task


@dataclass(frozen=True)
class Judged:
    """A question's answer, judged; a record on disk has these fields."""

    row: int
    prompt: str
    truth: Any
    answer: str | None  # None if it failed
    score: float  # 0 to 1
    group: str | None
    error: str | None = None

    @property
    def outcome(self) -> tuple[str, str]:
        """What a yes-or-no question asked for, and what was said."""
        return str(self.truth), str(self.answer).strip().lower()


def summarize(task: Task, judged: Sequence[Judged]) -> dict[str, Any]:
    """The figure of a task in percent, with its 95 % interval, whole and by group."""
    found: dict[str, Any] = {
        "task": task.name,
        "metric": task.metric,
        **_figures(task.judging, judged),
        "questions": len(judged),
        "failed": sum(each.error is not None for each in judged),
    }
    groups: dict[str, list[Judged]] = defaultdict(list)
    for each in judged:
        if each.group is not None:
            groups[each.group].append(each)
    found["groups"] = {
        name: {**_figures(task.judging, members), "questions": len(members)}
        for name, members in sorted(groups.items())
    }
    return found


def _figures(judging: Judging, judged: Sequence[Judged]) -> dict[str, Any]:
    scores = [each.score for each in judged]
    if judging is Judging.YES_OR_NO:
        return _yes_or_no(judged)
    if judging is Judging.RIGHT_OR_WRONG:
        right = round(sum(scores))
        interval = wilson(right, len(scores))
        return _figure(mean(scores), interval, "Wilson") | {"right": right}
    return _figure(mean(scores), bootstrap_mean(scores), "bootstrap")


def _figure(share: float, interval: Interval, method: str) -> dict[str, Any]:
    return {
        "score": _percent(share),
        "interval": [_percent(bound) for bound in interval],
        "interval_method": method,
    }


def _percent(share: float) -> float:
    return round(100 * share, 2)


_CELLS = (("yes", "yes"), ("no", "yes"), ("yes", "no"), ("no", "no"))
"""What was true and what was said: true and false positives, false and true negatives.
An answer that is neither yes nor no is in none of them, as POPE's tasks count."""


def _yes_or_no(judged: Sequence[Judged]) -> dict[str, Any]:
    outcomes = [e.outcome if e.outcome in _CELLS else ("", "") for e in judged]
    kinds = [*_CELLS, ("", "")]
    interval = bootstrap(outcomes, kinds, _f1)
    hits, false, missed, _ = (outcomes.count(cell) for cell in _CELLS)
    right = round(sum(each.score for each in judged))
    figures: Mapping[str, float] = {
        "accuracy": right / len(judged),
        "precision": hits / (hits + false) if hits + false else 0.0,
        "recall": hits / (hits + missed) if hits + missed else 0.0,
        "yes_ratio": (hits + false) / len(judged),
    }
    f1 = 2 * hits / (2 * hits + false + missed) if hits else 0.0
    low, high = wilson(right, len(judged))
    return {
        **_figure(f1, interval, "bootstrap"),
        **{name: _percent(value) for name, value in figures.items()},
        "accuracy_interval": [_percent(low), _percent(high)],
        "right": right,
    }


def _f1(counts: Counts) -> Counts:
    """Of counts (DRAWS, kinds), as 2 TP / (2 TP + FP + FN); 0 without a hit."""
    hits, wrong = counts[:, 0], counts[:, 1] + counts[:, 2]
    figure: Counts = 2 * hits / (2 * hits + wrong).clip(min=1)
    return figure
