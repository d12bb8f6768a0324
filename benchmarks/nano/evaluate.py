"""Measure nano in our own runtime: `python -m benchmarks.nano.evaluate`.

The train-form checkpoint is converted at every precision, and each result answers
held-out scenes of every task, and easy-vqa's official test split, greedily at every
resolution. Only the exact answer is right. It prints a table per precision, ends with
one line of JSON, and writes the same to `--out` with a plot beside it.
"""

import argparse
import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.measuring.drawable import require_matplotlib
from benchmarks.nano import tasks
from benchmarks.nano.accuracy import Accuracy
from benchmarks.nano.answering import answer_scenes
from benchmarks.nano.data import load_split
from benchmarks.nano.evaluation_plot import plot_report
from benchmarks.nano.tasks.scene import Ask, Scene
from convert import Recipe, convert_checkpoint
from fastvlm_mlx import FastVLM, load
from fastvlm_mlx.resolve import EMBEDDED

CHECKPOINT = Path(__file__).parent / "checkpoint"
RESOLUTIONS = (128, 256, 384, 512)
EASY = "easy-vqa"
SEED = 1  # Of the held-out scenes; training looks at none of the test split's.
TIMED = 5  # Answers of which the median time is taken, after one that warms up.


@dataclass(frozen=True)
class Precision:
    """How the language model's weights are stored and what is computed in."""

    recipe: Recipe | None
    stored: str
    computed: str | None  # None is what the runtime picks.


PRECISIONS = {
    "float32": Precision(None, "float32", "float32"),
    "bf16": Precision(None, "bfloat16", "bfloat16"),
    "8-bit": Precision(Recipe(8), "float16", None),
    "4-bit": Precision(Recipe(4), "float16", None),
}
SHIPPED = "shipped"

Scores = dict[str, Accuracy]
"""By kind of question, "task/what"."""


def held_out_scenes(task: str, count: int) -> list[Scene]:
    """Draw a task's first scenes of the test split, or take easy-vqa's pictures."""
    if task == EASY:
        return [
            Scene(Image.open(picture.path).convert("RGB"), asked, ())
            for picture in load_split("test")[:count]
            for asked in [tuple(_easy_asks(picture.questions))]
        ]
    return [tasks.draw(task, "test", SEED, index) for index in range(count)]


def _easy_asks(questions: Iterable[Any]) -> Iterator[Ask]:
    for question in questions:
        kind = question.kind.replace("/", "-")
        yield Ask(question.text, question.answer, f"{EASY}/{kind}")


def evaluate(vlm: FastVLM, scenes: Sequence[Scene], resolution: int) -> Scores:
    """Answer all questions about some scenes; accuracy by kind of question."""
    counts: dict[str, list[bool]] = defaultdict(list)
    for asked, answer in answer_scenes(vlm, scenes, resolution):
        counts[asked.kind].append(answer == asked.answer)
    return {kind: Accuracy(sum(got), len(got)) for kind, got in sorted(counts.items())}


def task_accuracy(scores: Scores) -> Accuracy:
    """Return the accuracy over all kinds."""
    return sum(scores.values(), Accuracy(0, 0))


def first_token_time(vlm: FastVLM, scene: Scene, resolution: int) -> float:
    """Return the median seconds from a picture and a question to the first token."""
    question = scene.questions[0].text
    times = [
        vlm.generate(
            scene.image, question, resolution=resolution, max_tokens=1, use_cache=False
        ).timings.time_to_first_token
        for _ in range(1 + TIMED)
    ]
    return statistics.median(times[1:])


def models(checkpoint: Path, names: Sequence[str]) -> Iterator[tuple[str, FastVLM]]:
    """Yield the model at each precision; "shipped" is the one in the package."""
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


def measure(
    vlm: FastVLM, scenes: dict[str, list[Scene]], resolutions: Sequence[int]
) -> dict[str, Any]:
    """Measure a model at every resolution: latency, and accuracy of every task."""
    report: dict[str, Any] = {}
    for resolution in resolutions:
        first = next(iter(scenes.values()))[0]
        seconds = first_token_time(vlm, first, resolution)
        scores = {
            task: evaluate(vlm, each, resolution) for task, each in scenes.items()
        }
        print(f"  {resolution} px, first token after {1000 * seconds:.0f} ms")
        for task, kinds in scores.items():
            print(f"    {task:10} {task_accuracy(kinds)}", flush=True)
        report[str(resolution)] = {
            "first_token_seconds": round(seconds, 4),
            "tasks": {task: _plain(kinds) for task, kinds in scores.items()},
        }
    return report


def _plain(scores: Scores) -> dict[str, Any]:
    """Return right answers, questions and interval, of all kinds and of each."""
    every = {"all": task_accuracy(scores), **scores}
    return {
        kind: {
            "right": score.right,
            "asked": score.asked,
            "percent": round(score.percent, 2),
            "interval": [round(bound, 2) for bound in score.interval],
        }
        for kind, score in every.items()
    }


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    every_task = [*tasks.TASKS, EASY]
    parser = argparse.ArgumentParser(description="Measure nano in our own runtime.")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--tasks", nargs="+", choices=every_task, default=every_task)
    parser.add_argument(
        "--resolutions", nargs="+", type=int, default=RESOLUTIONS, metavar="PIXELS"
    )
    names = [*PRECISIONS, SHIPPED]
    parser.add_argument("--precisions", nargs="+", choices=names, default=names)
    parser.add_argument("--scenes", type=int, default=200, help="per task [200]")
    parser.add_argument("--easy", type=int, default=1000, help="pictures [all 1000]")
    parser.add_argument("--out", type=Path, help="JSON file; a PNG goes beside it")
    return parser.parse_args()


def main() -> None:
    """Print tables of accuracies and a line of JSON; write both files where asked."""
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
