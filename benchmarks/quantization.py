"""What each way to quantize nano costs: `python -m benchmarks.quantization`.

Per recipe: size, how far next-token distributions are from full precision on the
built-in questions (`fastvlm-mlx quality`), and answers right on easy-vqa's test split.
"""

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.measuring.harness import report
from benchmarks.nano.data.easy_vqa import EASY
from benchmarks.nano.data.mixture import held_out_scenes
from benchmarks.nano.data.tasks.scene import Scene
from benchmarks.nano.evaluate import CHECKPOINT
from benchmarks.nano.report.accuracy import Accuracy
from benchmarks.nano.report.measure import evaluate, task_accuracy
from convert import ConversionReport, Quality, Recipe, convert_checkpoint
from fastvlm_mlx import load

SIDE = 128  # Pixels; what nano was trained with.

RECIPES: dict[str, Recipe | None] = {
    "16 bits": None,
    "8 bits": Recipe(8),
    "6 bits": Recipe(6),
    "5 bits": Recipe(5),
    "4 bits": Recipe(4),
    "4 bits, calibrated": Recipe(4, calibrate=True),
    "4 bits, groups of 32": Recipe(4, 32),
    "4 bits, groups of 128": Recipe(4, 128),
    "4 bits, outer 4": Recipe(4, embed_bits=4, head_bits=4),
    "4 bits, outer 8": Recipe(4, embed_bits=8, head_bits=8),
    "4 bits, outer 16": Recipe(4, embed_bits=16, head_bits=16),
    "4 bits, projector 8": Recipe(4, projector_bits=8),
    "4 bits, projector 4": Recipe(4, projector_bits=4),
    "4 bits, tower 8": Recipe(4, tower_bits=8),
    "4 bits, tower 6": Recipe(4, tower_bits=6),
    "4 bits, tower 4": Recipe(4, tower_bits=4),
    "3 bits": Recipe(3),
    "3 bits, calibrated": Recipe(3, calibrate=True),
    "2 bits": Recipe(2),
    "2 bits, calibrated": Recipe(2, calibrate=True),
    "mixed-2-6": Recipe.named("mixed-2-6"),
    "mixed-3-4": Recipe.named("mixed-3-4"),
    "mixed-3-6": Recipe.named("mixed-3-6"),
    "mixed-4-6": Recipe.named("mixed-4-6"),
    "mixed-4-8": Recipe.named("mixed-4-8"),
    "mxfp4": Recipe(mode="mxfp4"),
    "nvfp4": Recipe(mode="nvfp4"),
    "mxfp8": Recipe(mode="mxfp8"),
}


def main() -> None:
    """Print a table in Markdown, and a line of JSON."""
    arguments = _parse()
    scenes = held_out_scenes(EASY, arguments.pictures)
    print(
        "| recipe | MB | bits per weight | KL, nats | first choice | perplexity "
        "| easy-vqa, right |\n|---|---|---|---|---|---|---|"
    )
    results = {}
    for name in arguments.recipes or RECIPES:
        made, right = measure(RECIPES[name], arguments, scenes)
        print(_row(name, made, right), flush=True)
        results[name] = {
            "bytes": made.bytes_written,
            "quality": asdict(made.quality) if made.quality else None,
            "right": asdict(right) if right else None,
        }
    report("quantization", results)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Tell what each recipe costs nano.")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--samples", type=int, default=96, help="built-in questions")
    parser.add_argument("--pictures", type=int, default=1000, help="of 1000; 0: none")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, metavar="NAME")
    return parser.parse_args()


def measure(
    recipe: Recipe | None, arguments: argparse.Namespace, scenes: list[Scene]
) -> tuple[ConversionReport, Accuracy | None]:
    """Convert by a recipe, judge, and answer the questions about some pictures."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "model"
        made = convert_checkpoint(
            arguments.checkpoint,
            folder,
            recipe=recipe,
            dtype="float16",
            quality_samples=arguments.samples,
        )
        scores = evaluate(load(folder), scenes, SIDE) if scenes else None
        return made, None if scores is None else task_accuracy(scores)


def _row(name: str, made: ConversionReport, right: Accuracy | None) -> str:
    cells = [name, f"{made.bytes_written / 1e6:.2f}", f"{made.bits_per_weight:.2f}"]
    cells += _figures(made.quality) if made.quality else ["-"] * 3
    cells.append(f"{right.percent:.2f} % of {right.asked}" if right else "-")
    return f"| {' | '.join(cells)} |"


def _figures(quality: Quality) -> list[str]:
    return [
        f"{quality.kl_divergence:.5f}",
        f"{quality.top1_agreement:.1%}",
        f"{quality.perplexity_ratio:.3f}",
    ]


if __name__ == "__main__":
    main()
