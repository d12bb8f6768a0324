"""The curve as a picture that is read without colour. Needs matplotlib.

Methods differ by marker and line, points carry their names, and what lies on the Pareto
front is filled.
"""

from pathlib import Path
from typing import Any

Point = dict[str, Any]
"""An entry of the results' `points`."""

MARKERS = {"static": ("o", "-"), "anyres": ("s", "--")}


def draw_curve(results: dict[str, Any], file: Path) -> None:
    """Accuracy by resolution on the left, by time to the first token on the right."""
    from matplotlib.figure import Figure  # Only here, so that measuring needs none.

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    points = results["points"]
    for method in MARKERS:
        mine = [each for each in points if each["method"] == method]
        if mine:
            _draw_method(left, mine, "resolution", method)
            _draw_method(right, mine, "seconds", method)
    _draw_front(right, [each for each in points if each["front"]])
    _name_axes(left, right, points)
    figure.suptitle(f"{results['model']}, {results['device']}", fontsize=10)
    figure.savefig(file, dpi=100)


def _draw_method(axes: Any, points: list[Point], x: str, method: str) -> None:
    marker, line = MARKERS[method]
    places = [each[x] for each in points]
    shares = [each["accuracy"] for each in points]
    below = [each["accuracy"] - each["interval"][0] for each in points]
    above = [each["interval"][1] - each["accuracy"] for each in points]
    axes.errorbar(places, shares, (below, above), fmt=line, color="black", capsize=3)
    for each in points:
        face = "black" if each["front"] else "white"
        spot = each[x], each["accuracy"]
        axes.plot(*spot, marker, markerfacecolor=face, color="black", zorder=3)
        _name_point(axes, spot, each, x)
    axes.annotate(
        method,
        (places[-1], shares[-1]),
        (8, -12),
        textcoords="offset points",
        fontsize=9,
        weight="bold",
    )


def _name_point(axes: Any, spot: tuple[float, float], point: Point, x: str) -> None:
    tokens = f"{point['tokens']} tokens"
    label = tokens if x == "resolution" else f"{point['resolution']} px"
    axes.annotate(label, spot, (6, 6), textcoords="offset points", fontsize=8)


def _draw_front(axes: Any, front: list[Point]) -> None:
    """Steps: up to the next point's time nothing is more accurate."""
    times = [each["seconds"] for each in front]
    shares = [each["accuracy"] for each in front]
    axes.step(times, shares, ":", where="post", color="0.35", linewidth=3, zorder=1)
    axes.annotate(
        "Pareto front (filled)",
        (times[0], shares[0]),
        (6, -14),
        textcoords="offset points",
        fontsize=8,
        style="italic",
    )


def _name_axes(left: Any, right: Any, points: list[Point]) -> None:
    left.set_xticks(sorted({each["resolution"] for each in points}))
    left.set_xlabel("side of the picture, pixels")
    left.set_ylabel("accuracy, % (bars: 95 %)")
    right.set_xscale("log")
    right.set_xlabel("seconds to the first token (logarithmic), less is better")
    for axes in (left, right):
        axes.margins(x=0.15, y=0.12)
        axes.spines[["top", "right"]].set_visible(False)
