"""Draw accuracy against latency by resolution: python -m benchmarks.curve MODEL FILE…

MODEL is a converted folder or "nano". Each FILE has accuracies
(`benchmarks.curve.accuracy` says in which form); the times are measured here, with the
model itself. AnyRes (2 x 2 tiles and an overview) stands beside static resolution.
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.curve.accuracy import read_accuracies
from benchmarks.curve.drawing import draw_curve
from benchmarks.curve.latency import first_token_seconds
from benchmarks.curve.pareto import Point, pareto_front
from benchmarks.curve.setting import Setting
from benchmarks.measuring.drawable import require_matplotlib
from benchmarks.measuring.harness import machine, report
from fastvlm_mlx import load


def main() -> None:
    """Print a table and a line of JSON; draw the picture."""
    arguments = _parse()
    require_matplotlib("benchmarks.curve")
    scored = read_accuracies(arguments.accuracies, arguments.precision, arguments.tasks)
    vlm = load(arguments.model)
    settings = [each.setting for each in scored]
    stride = vlm.engine.config.vision_config.stride
    require_fit(settings, stride)
    times = first_token_seconds(vlm, settings, arguments.runs)
    points = [
        Point(each, each.setting.tokens(stride), seconds)
        for each, seconds in zip(scored, times, strict=True)
    ]
    results = as_results(arguments.model, points)
    print(table(results))
    draw_curve(results, arguments.out)
    report("curve", results)


def require_fit(settings: list[Setting], stride: int) -> None:
    """Refuse what the encoder cannot take.

    Raises:
        SystemExit: a side is no multiple of the encoder's stride.
    """
    wrong = [str(setting) for setting in settings if not setting.fits(stride)]
    if wrong:
        raise SystemExit(
            f"{', '.join(wrong)} does not fit this model; expected sides, of each tile "
            f"too, that are multiples of {stride}."
        )


def as_results(model: str, points: list[Point]) -> dict[str, Any]:
    """What is printed, drawn and reported."""
    front = pareto_front(points)
    facts = machine()
    device = f"{facts['device']} ({facts['backend']}, {facts['cores']} cores)"
    return {
        "model": model,
        "device": device,
        "points": [as_entry(point, point in front) for point in points],
    }


def as_entry(point: Point, on_front: bool) -> dict[str, Any]:
    """One point in plain words."""
    scored = point.scored
    return {
        "method": scored.setting.method,
        "resolution": scored.setting.resolution,
        "tokens": point.tokens,
        "seconds": point.seconds,
        "accuracy": scored.accuracy,
        "interval": list(scored.interval),
        "samples": scored.samples,
        "front": on_front,
    }


def table(results: dict[str, Any]) -> str:
    """The points in Markdown; a star marks the Pareto front."""
    lines = [
        "| method | side | tokens | first token | accuracy | 95 % | samples | front |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in results["points"]:
        low, high = each["interval"]
        lines.append(
            f"| {each['method']} | {each['resolution']} | {each['tokens']} "
            f"| {1000 * each['seconds']:.0f} ms | {each['accuracy']:.1f} % "
            f"| {low:.1f}-{high:.1f} | {each['samples']} "
            f"| {'*' if each['front'] else ''} |"
        )
    return "\n".join(lines)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.curve", description=__doc__)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("accuracies", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--out", type=Path, default=Path("curve.png"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--precision", default="shipped", help="of nano's report")
    parser.add_argument("--tasks", nargs="+", default=[], help="of nano's report [all]")
    return parser.parse_args()


if __name__ == "__main__":
    main()
