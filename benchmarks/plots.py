"""Draw the figures of README.md: `python -m benchmarks.plots RESULTS.jsonl …`.

Reads the last lines of the other benchmarks, one JSON object a line, and writes PNG
files that can be read without colour: bars differ by hatching and carry their numbers.
Needs matplotlib (`pip install "fastvlm-mlx[benchmark]"`).
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.curve.drawing import draw_curve
from benchmarks.measuring.drawable import require_matplotlib

HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo")
WIDE = 20
FOLDER = Path(__file__).with_name("plots")


def read(files: list[Path]) -> list[dict[str, Any]]:
    """The JSON lines among the output of benchmarks."""
    lines = [line for file in files for line in file.read_text("utf-8").splitlines()]
    return [json.loads(line) for line in lines if line.startswith('{"benchmark"')]


def draw_bars(title: str, unit: str, values: dict[str, float], file: Path) -> None:
    """Horizontal bars with their numbers; a wide range is drawn by its logarithm."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.5 * len(values) + 1.2), layout="constrained")
    axes = figure.subplots()
    for place, (name, value) in enumerate(reversed(values.items())):
        hatch = HATCHES[(len(values) - 1 - place) % len(HATCHES)]
        axes.barh(name, value, color="white", edgecolor="black", hatch=hatch)
        axes.annotate(
            f"{value:.3g}",
            (value, place),
            (4, 0),
            textcoords="offset points",
            va="center",
        )
    wide = max(values.values()) > WIDE * min(values.values())
    axes.set_xscale("log" if wide else "linear")
    axes.margins(x=0.15)
    axes.set_xlabel(f"{unit} (logarithmic)" if wide else unit)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=100)


def peers(results: list[dict[str, Any]]) -> None:
    """A figure for each task and side beside the peers; runs of one task are joined."""
    figures: dict[str, dict[str, float]] = {}
    for each in results:
        found = each["results"]
        name = f"{found['task']}-{found['side']}"
        figures.setdefault(name, {}).update(
            {k: v for k, v in found["seconds"].items() if k not in figures[name]}
        )
    for name, seconds in figures.items():
        title = f"{name}: seconds, float32, {results[0]['machine']['cores']} CPU cores"
        draw_bars(title, "seconds, less is better", seconds, FOLDER / f"{name}.png")


def ablation(results: list[dict[str, Any]]) -> None:
    """A figure for each task; runs of one task are joined."""
    tables: dict[str, dict[str, float]] = {}
    for each in results:
        for task, times in each["results"].items():
            tables[task] = {**times, **tables.get(task, {})}
    for task, times in tables.items():
        name = f"ablation-{task.replace(' ', '-')}"
        draw_bars(f"{task}: seconds", "seconds", times, FOLDER / f"{name}.png")


def roofline(results: list[dict[str, Any]]) -> None:
    """First token on Apple's chips, predicted."""
    chips = results[-1]["results"]
    values = {name: chip["first token ms"] for name, chip in chips.items()}
    title = "PREDICTED first token, 1024 px, 0.5B at 4 bit (not measured)"
    draw_bars(title, "milliseconds", values, FOLDER / "roofline.png")


def curve(results: list[dict[str, Any]]) -> None:
    """A figure for each model; the last run of it counts."""
    for each in results:
        found = each["results"]
        draw_curve(found, FOLDER / f"curve-{Path(found['model']).name}.png")


FIGURES = {"peers": peers, "ablation": ablation, "roofline": roofline, "curve": curve}


def main() -> None:
    """Draw what the results hold."""
    parser = argparse.ArgumentParser(description="Draw the results of benchmarks.")
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS")
    arguments = parser.parse_args()
    require_matplotlib("benchmarks.plots")
    found = read(arguments.results)
    FOLDER.mkdir(exist_ok=True)
    for name, draw in FIGURES.items():
        mine = [each for each in found if each["benchmark"] == name]
        if mine:
            draw(mine)


if __name__ == "__main__":
    main()
