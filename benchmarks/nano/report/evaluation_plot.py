"""A report as a plot: accuracy by resolution, and by the time to the first token.

On the left every task with its confidence interval, in the report's first precision; on
the right every precision's mean over the tasks. Markers and dashes distinguish the
curves without colour. Needs matplotlib.
"""

from itertools import cycle
from pathlib import Path
from typing import Any

MARKS, DASHES = "osD^vP*X", ("-", "--", "-.", ":")


def resolution_curves(measured: dict[str, Any]) -> dict[str, list[tuple[int, Any]]]:
    """Each task's (pixels, accuracy of all kinds) from one precision's report."""
    curves: dict[str, list[tuple[int, Any]]] = {}
    for pixels, found in measured.items():
        for task, kinds in found["tasks"].items():
            curves.setdefault(task, []).append((int(pixels), kinds["all"]))
    return curves


def latency_curve(measured: dict[str, Any]) -> list[tuple[float, float]]:
    """(milliseconds to the first token, mean accuracy) by resolution."""
    curve = []
    for found in measured.values():
        shares = [kinds["all"]["percent"] for kinds in found["tasks"].values()]
        time = 1000 * found["first_token_seconds"]
        curve.append((time, sum(shares) / len(shares)))
    return curve


def plot_report(report: dict[str, Any], path: Path) -> None:
    """Draw a report of `evaluate` to a PNG file."""
    from matplotlib.figure import Figure  # only needed for drawing

    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    name, first = next(iter(report["precisions"].items()))
    _draw_resolutions(left, resolution_curves(first))
    left.set(title=name, xlabel="pixels", ylabel="right answers in %", ylim=(0, 101))
    precisions = report["precisions"].items()
    for (name, measured), mark, dash in zip(precisions, cycle(MARKS), cycle(DASHES)):
        times, shares = zip(*latency_curve(measured), strict=True)
        right.plot(times, shares, marker=mark, linestyle=dash, label=name)
    right.set(title="mean of the tasks", xlabel="milliseconds to the first token")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))  # outside the curves
    figure.savefig(path, dpi=100)


def _draw_resolutions(axes: Any, curves: dict[str, list[tuple[int, Any]]]) -> None:
    for (task, curve), mark, dash in zip(curves.items(), cycle(MARKS), cycle(DASHES)):
        pixels = [each for each, _ in curve]
        shares = [score["percent"] for _, score in curve]
        below = [score["percent"] - score["interval"][0] for _, score in curve]
        above = [score["interval"][1] - score["percent"] for _, score in curve]
        style = {"marker": mark, "linestyle": dash, "capsize": 3, "label": task}
        axes.errorbar(pixels, shares, (below, above), **style)
    axes.set_xticks(sorted({each for curve in curves.values() for each, _ in curve}))
