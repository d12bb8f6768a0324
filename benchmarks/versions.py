"""This checkout against another one: `python -m benchmarks.versions OTHER`.

OTHER is the folder of another checkout with its .venv. Both answer the same questions
with nano, in processes of their own that take turns, so that a machine whose speed
drifts slows both. What counts is the ratio of each pair.
"""

import argparse
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import fastvlm_mlx

QUESTION = "what color is the circle?"
PARTS = ("encode", "first token", "decode of 160", "batch of 8")
ALONE: dict[str, Any] = {"use_cache": False}
BABBLE: dict[str, Any] = {**ALONE, "temperature": 9.0, "seed": 2}
"""Random tokens, the same in both: an answer of nano's own would end too soon."""


def measure(runs: int) -> dict[str, float]:
    """Median seconds of each part, in this process."""
    vlm: Any = fastvlm_mlx.load("nano")
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (8, 400, 400, 3), np.uint8)
    images = [Image.fromarray(each) for each in pixels]
    requests = [
        fastvlm_mlx.Request(QUESTION, image, max_tokens=24, **BABBLE)
        for image in images
    ]

    def first() -> Any:
        return vlm.generate(images[0], QUESTION, max_tokens=1, **ALONE)

    timings = [first().timings for _ in range(2 * runs)][2:]
    encode = statistics.median(each.encode + each.project for each in timings)
    jobs: tuple[Callable[[], Any], ...] = (
        first,
        lambda: vlm.generate(None, QUESTION, max_tokens=160, **BABBLE),
        lambda: vlm.batch(requests, batch_size=8),
    )
    times = [encode, *(_median(job, runs) for job in jobs)]
    return dict(zip(PARTS, times, strict=True))


def _median(job: Callable[[], Any], runs: int) -> float:
    times = []
    for _ in range(runs + 2):
        start = time.perf_counter()
        job()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def measured_in(checkout: Path, runs: int) -> dict[str, float]:
    """The same in a process of a checkout, by the program of this one."""
    python = checkout / ".venv/bin/python"
    program = Path(__file__).resolve()
    command: list[str | Path] = [python, program, "--measure", str(runs)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(checkout),
        "FASTVLM_MLX_COMPILE": "1",
    }
    done = subprocess.run(
        command, cwd=checkout, env=environment, check=True, stdout=subprocess.PIPE
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Print a table, and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, nargs="?", default=Path())
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--measure", type=int, metavar="RUNS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    from benchmarks.measuring.harness import report  # the other one may not have it

    here, other = Path(__file__).resolve().parents[1], arguments.other.resolve()
    pairs = [
        (measured_in(here, arguments.runs), measured_in(other, arguments.runs))
        for _ in range(arguments.pairs)
    ]
    results = {}
    for part in PARTS:
        ratio = statistics.median(ours[part] / theirs[part] for ours, theirs in pairs)
        columns = zip(*pairs, strict=True)
        ms = [1000 * statistics.median(run[part] for run in each) for each in columns]
        results[part] = {"here ms": ms[0], "other ms": ms[1], "ratio": ratio}
        print(f"{part:<14}{ms[0]:>10.1f}{ms[1]:>10.1f}{ratio:>8.3f}")
    report("versions", results)


if __name__ == "__main__":
    main()
