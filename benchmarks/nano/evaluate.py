"""Measure nano in our own runtime: `python -m benchmarks.nano.evaluate`.

The train-form checkpoint is converted at every precision. Each result answers held-out
scenes of every task, and easy-vqa's official test split, greedily at every resolution.
It prints a table per precision and one line of JSON; `--out` stores the same with a
plot.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring.drawable import require_matplotlib
from convert import Recipe, convert_checkpoint
from fastvlm_mlx import FastVLM, load
from fastvlm_mlx.resolve import EMBEDDED

from .data.easy_vqa import EASY
from .data.mixture import held_out_scenes
from .data.tasks import TASKS
from .report.evaluation_plot import plot_report
from .report.measure import measure

CHECKPOINT = Path(__file__).parent / "checkpoint"
RESOLUTIONS = (128, 256, 384, 512)


@dataclass(frozen=True)
class Precision:
    """How the language model's weights are stored and what is computed in."""

    recipe: Recipe | None
    stored: str
    computed: str | None  # None: the runtime's choice


PRECISIONS = {
    "float32": Precision(None, "float32", "float32"),
    "bf16": Precision(None, "bfloat16", "bfloat16"),
    "8-bit": Precision(Recipe(8), "float16", None),
    "4-bit": Precision(Recipe(4), "float16", None),
}
SHIPPED = "shipped"


def models(checkpoint: Path, names: Sequence[str]) -> Iterator[tuple[str, FastVLM]]:
    """The model at each precision; "shipped" is the one in the package."""
    for name in names:
        if name == SHIPPED:
            yield name, load(EMBEDDED)
            continue
        chosen = PRECISIONS[name]
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work) / "nano"
            convert_checkpoint(
                checkpoint, folder, recipe=chosen.recipe, dtype=chosen.stored
            )
            yield name, load(folder, dtype=chosen.computed)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    every_task = [*TASKS, EASY]
    parser = argparse.ArgumentParser(description="Measure nano in our own runtime.")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--tasks", nargs="+", choices=every_task, default=every_task)
    parser.add_argument(
        "--resolutions", nargs="+", type=int, default=RESOLUTIONS, metavar="PIXELS"
    )
    names = [*PRECISIONS, SHIPPED]
    parser.add_argument("--precisions", nargs="+", choices=names, default=names)
    parser.add_argument("--scenes", type=int, default=200, help="per task [200]")
    parser.add_argument("--easy", type=int, default=1000, help="images [all 1000]")
    parser.add_argument("--out", type=Path, help="JSON file; its plot is a PNG")
    return parser.parse_args()


def main() -> None:
    """Print tables of accuracies and a line of JSON; write files if asked to."""
    arguments = parse_arguments()
    if arguments.out:
        require_matplotlib("--out")
    scenes = {
        task: held_out_scenes(
            task, arguments.easy if task == EASY else arguments.scenes
        )
        for task in arguments.tasks
    }
    results: dict[str, Any] = {}
    for name, vlm in models(arguments.checkpoint, arguments.precisions):
        print(name)
        results[name] = measure(vlm, scenes, arguments.resolutions)
    report = {"benchmark": "nano", "precisions": results}
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        plot_report(report, arguments.out.with_suffix(".png"))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
