"""The course of a training run: `python -m benchmarks.nano.plot FOLDER`.

Draws `history.jsonl` as `history.png`: the losses above, the held-out accuracies below.
Needs matplotlib.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.measuring.drawable import require_matplotlib

HISTORY, PLOT = "history.jsonl", "history.png"
LOSSES = ("dense_label_loss", "answer_loss")

Curve = tuple[list[int], list[float]]
"""Steps and values."""


def read_curves(history: Path) -> tuple[dict[str, Curve], dict[str, Curve]]:
    """Read the losses, and the held-out accuracies of each task, from a history."""
    losses: dict[str, Curve] = defaultdict(lambda: ([], []))
    accuracies: dict[str, Curve] = defaultdict(lambda: ([], []))
    for line in history.read_text("utf-8").splitlines():
        note = json.loads(line)
        for name in LOSSES:
            if name in note:
                _append(losses[name], note["step"], note[name])
        for task, share in task_means(note.get("held_out", {})).items():
            _append(accuracies[task], note["step"], 100 * share)
    return dict(losses), dict(accuracies)


def task_means(held_out: dict[str, float]) -> dict[str, float]:
    """The mean over the kinds of each task, "shapes/count" and so on."""
    kinds: dict[str, list[float]] = defaultdict(list)
    for kind, share in held_out.items():
        kinds[kind.partition("/")[0]].append(share)
    return {task: sum(shares) / len(shares) for task, shares in kinds.items()}


def _append(curve: Curve, step: int, value: float) -> None:
    curve[0].append(step)
    curve[1].append(value)


def plot_history(folder: Path) -> Path:
    """Draw a run's `history.jsonl`; the plot's path."""
    from matplotlib.figure import Figure  # only needed for drawing

    losses, accuracies = read_curves(folder / HISTORY)
    figure = Figure(figsize=(8, 8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    _draw(above, losses, "loss")
    _draw(below, accuracies, "held out, right answers in %")
    below.set_xlabel("step")
    figure.savefig(folder / PLOT, dpi=100)
    return folder / PLOT


def _draw(axes: Any, curves: dict[str, Curve], label: str) -> None:
    for name, (steps, values) in curves.items():
        axes.plot(steps, values, label=name)
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)
    if curves:
        axes.legend()


def main() -> None:
    """Draw the history in a run's folder."""
    parser = argparse.ArgumentParser(description="Plot the course of a training run.")
    parser.add_argument("folder", type=Path, help="the run's --out")
    arguments = parser.parse_args()
    require_matplotlib("benchmarks.nano.plot")
    print(plot_history(arguments.folder))


if __name__ == "__main__":
    main()
