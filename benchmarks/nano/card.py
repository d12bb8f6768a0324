"""The tables of nano's model card: `python -m benchmarks.nano.card REPORT`.

In: the JSON that `evaluate --out` writes. Out: two Markdown tables on the terminal, one
by resolution, one by precision.
"""

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .report.accuracy import Accuracy

Measured = dict[str, Any]
"""A report for one precision, by resolution, see `measure.measure`."""

UNSEEN_FONT = ("-unseen-font", "-unseen-both")
NUMBERS = ("number", "price", "time", "year")

# What each row counts: whole kinds, or a kind before its "-unseen" endings.
ROWS: dict[str, tuple[str, ...]] = {
    "easy-vqa, official test split": ("easy-vqa/*",),
    "a figure's shape or colour": ("shapes/shape", "shapes/color"),
    "whether there is such a figure": ("shapes/yes-no",),
    "how many figures": ("shapes/count",),
    "where a figure is": ("shapes/position",),
    "left of, above ...": ("shapes/position-yes-no",),
    "which is bigger": ("shapes/compare",),
    "a word, fonts seen in training": ("text/word:seen",),
    "a word, fonts never seen": ("text/word:unseen",),
    "first or last letter": ("text/letter",),
    "letters that make no word": ("text/letters",),
    "numbers, prices, times, years": tuple(f"text/{each}" for each in NUMBERS),
    "several words": ("text/line", "text/part"),
    "colour of the text": ("text/color",),
    "descriptions, word for word": ("captions/*",),
}


def belongs(kind: str, pattern: str) -> bool:
    """Whether a row counts a kind of question, such as "text/word-unseen-font".

    Args:
        pattern: "task/*", "task/what", or that with ":seen" or ":unseen" fonts.
    """
    wanted, _, fonts = pattern.partition(":")
    if wanted.endswith("*"):
        return kind.startswith(wanted[:-1])
    unseen = kind.endswith(UNSEEN_FONT)
    return kind.partition("-unseen")[0] == wanted and fonts in (
        "",
        "unseen" if unseen else "seen",
    )


def count(tasks: dict[str, Any], patterns: Sequence[str]) -> Accuracy:
    """The sum of the questions that a row counts; 0 of 0 if none was asked."""
    kinds = [
        Accuracy(score["right"], score["asked"])
        for task in tasks.values()
        for kind, score in task.items()
        if kind != "all" and any(belongs(kind, each) for each in patterns)
    ]
    return sum(kinds, Accuracy(0, 0))


def by_resolution(measured: Measured) -> Iterator[str]:
    """The lines of the table of rows and resolutions."""
    yield from _head("asked", [f"{pixels} px" for pixels in measured], "questions")
    for name, patterns in ROWS.items():
        cells = [count(found["tasks"], patterns) for found in measured.values()]
        if cells[0].asked:
            yield _line(name, [_share(each) for each in cells], cells[0].asked)


def by_precision(precisions: dict[str, Measured], pixels: str) -> Iterator[str]:
    """The lines of the table of tasks and precisions at one resolution."""
    measured = {name: each[pixels]["tasks"] for name, each in precisions.items()}
    yield from _head("task", [f"{name}" for name in measured], "questions")
    first = next(iter(measured.values()))
    for task in first:
        scores = [tasks[task]["all"] for tasks in measured.values()]
        shares = [f"{each['percent']:.1f}" for each in scores]
        asked = "/".join(dict.fromkeys(str(each["asked"]) for each in scores))
        yield _line(task, shares, asked)


def best_resolution(measured: Measured) -> str:
    """The resolution with the highest mean accuracy over the tasks."""

    def accuracy(pixels: str) -> float:
        tasks = measured[pixels]["tasks"].values()
        mean: float = sum(task["all"]["percent"] for task in tasks) / len(tasks)
        return mean

    return max(measured, key=accuracy)


def _head(first: str, middle: Iterable[str], last: str) -> Iterator[str]:
    titles = [first, *middle, last]
    yield "| " + " | ".join(titles) + " |"
    yield "|" + "---|" + "---:|" * (len(titles) - 1)


def _line(name: str, cells: Iterable[str], asked: object) -> str:
    return f"| {name} | " + " | ".join(cells) + f" | {asked} |"


def _share(score: Accuracy) -> str:
    low, high = score.interval
    return f"{score.percent:.1f} ({low:.0f}–{high:.0f})"


def main() -> None:
    """Print both tables of a report."""
    parser = argparse.ArgumentParser(description="Tables of nano's model card.")
    parser.add_argument("report", type=Path, help="JSON file of evaluate --out")
    parser.add_argument("--precision", default="shipped", help="[shipped]")
    arguments = parser.parse_args()
    precisions = json.loads(arguments.report.read_text("utf-8"))["precisions"]
    if arguments.precision not in precisions:
        raise SystemExit(
            f"The report has no {arguments.precision!r}; expected --precision "
            f"{' or '.join(precisions)}."
        )
    measured = precisions[arguments.precision]
    best = best_resolution(measured)
    print(f"Right answers in %, 95 % intervals, {arguments.precision}:\n")
    print("\n".join(by_resolution(measured)))
    print(f"\nAt {best} pixels:\n")
    print("\n".join(by_precision(precisions, best)))


if __name__ == "__main__":
    main()
