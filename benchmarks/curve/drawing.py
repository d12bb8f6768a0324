"""The curve as a picture that is read without colour. Needs matplotlib.

Methods differ by marker and line, points carry their names, and what lies on the Pareto
front is filled.
"""

from pathlib import Path
from typing import Any

Point = dict[str, Any]
"""An entry of the results' `points`."""

BEHIND = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
"""Of a label, so that no line runs through it."""

DECADE = 10

MARKERS = {"static": ("o", "-"), "anyres": ("s", "--")}
SIDES = {"static": (7, "left"), "anyres": (-7, "right")}
"""Where labels stand, so that those of one resolution do not meet."""


def draw_curve(results: dict[str, Any], file: Path) -> None:
    """Accuracy by resolution on the left, by time to the first token on the right."""
    from matplotlib.figure import Figure  # Only here, so that measuring needs none.

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    points = results["points"]
    for method in MARKERS:
        mine = [each for each in points if each["method"] == method]
        if mine:
            _draw_method(left, mine, [each["resolution"] for each in mine])
            _draw_method(right, mine, [_time(each) for each in mine])
    _name_points(left, points)
    _name_times(right, points)
    _draw_front(right, [each for each in points if each["front"]])
    _name_axes(left, right, points)
    title = f"{results['model']}, {results['device']}; filled and dotted: Pareto front"
    figure.suptitle(title, fontsize=10)
    figure.savefig(file, dpi=100)


def _time(point: Point) -> float:
    return 1000 * float(point["seconds"])


def _draw_method(axes: Any, points: list[Point], places: list[float]) -> None:
    method = points[0]["method"]
    marker, line = MARKERS[method]
    shares = [each["accuracy"] for each in points]
    below = [each["accuracy"] - each["interval"][0] for each in points]
    above = [each["interval"][1] - each["accuracy"] for each in points]
    axes.errorbar(places, shares, (below, above), fmt=line, color="black", capsize=3)
    for place, each in zip(places, points, strict=True):
        face = "black" if each["front"] else "white"
        axes.plot(place, each["accuracy"], marker, mfc=face, color="black", zorder=3)
    _label(axes, method, (places[-1], shares[-1]), method, -14, weight="bold")


def _name_points(axes: Any, points: list[Point]) -> None:
    for each in points:
        spot = each["resolution"], each["accuracy"]
        label = f"{each['tokens']} tokens" if each["tokens"] > 1 else "1 token"
        _label(axes, each["method"], spot, label, 7)


def _name_times(axes: Any, points: list[Point]) -> None:
    for each in points:
        spot = _time(each), each["accuracy"]
        _label(axes, each["method"], spot, f"{each['resolution']} px", 7)


def _label(
    axes: Any, method: str, spot: tuple[float, float], text: str, up: int, **font: Any
) -> None:
    """Text beside a point, on its method's side, `up` in typographic points."""
    along, alignment = SIDES[method]
    axes.annotate(
        text,
        spot,
        (along, up),
        textcoords="offset points",
        horizontalalignment=alignment,
        fontsize=8,
        bbox=BEHIND,
        zorder=4,
        **font,
    )


def _draw_front(axes: Any, front: list[Point]) -> None:
    """Steps: up to the next point's time nothing is more accurate."""
    ordered = sorted(front, key=_time)
    times = [_time(each) for each in ordered]
    shares = [each["accuracy"] for each in ordered]
    axes.step(times, shares, ":", where="post", color="0.35", linewidth=3, zorder=1)


def _name_axes(left: Any, right: Any, points: list[Point]) -> None:
    left.set_xticks(sorted({each["resolution"] for each in points}))
    left.set_xlabel("side of the picture, pixels")
    left.set_ylabel("accuracy, % (bars: 95 %)")
    right.set_xlabel("milliseconds to the first token (logarithmic), less is better")
    _scale_times(right.xaxis, [_time(each) for each in points])
    for axes in (left, right):
        axes.margins(x=0.15, y=0.12)
        axes.spines[["top", "right"]].set_visible(False)


def _scale_times(axis: Any, times: list[float]) -> None:
    """Logarithmic, with plain numbers; few of them are round within one decade."""
    axis.axes.set_xscale("log")
    axis.set_major_formatter("{x:g}")
    if max(times) < DECADE * min(times):
        axis.set_minor_formatter("{x:g}")
