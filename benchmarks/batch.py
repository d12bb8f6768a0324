"""Questions about pictures, together and one by one: `python -m benchmarks.batch`.

Each question has a picture of its own; nothing is known of any before a run. Answers
must be equal. The model is nano, or `--model`.
"""

import argparse
from functools import partial

import numpy as np
from PIL import Image

from benchmarks.measuring.harness import Job, report, time_in_turn
from fastvlm_mlx import FastVLM, Request, load

QUESTIONS = (
    "Describe the picture.",
    "what color is the shape?",
    "is there a circle in the picture?",
)


def requests(count: int, side: int, max_tokens: int) -> list[Request]:
    """Questions about noise, no two alike."""
    draw = np.random.default_rng(0)
    pixels = [draw.integers(0, 256, (side, side, 3), np.uint8) for _ in range(count)]
    return [
        Request(
            QUESTIONS[index % len(QUESTIONS)],
            Image.fromarray(each),
            max_tokens=max_tokens,
        )
        for index, each in enumerate(pixels)
    ]


def one_by_one(vlm: FastVLM, asked: list[Request]) -> list[tuple[int, ...]]:
    """Token ids of each answer, from a model that remembers nothing."""
    vlm.engine.caches.clear()
    results = [
        vlm.generate(each.images, each.prompt, max_tokens=each.options.max_tokens)
        for each in asked
    ]
    return [result.token_ids for result in results]


def together(vlm: FastVLM, asked: list[Request], size: int) -> list[tuple[int, ...]]:
    """The same through a batch."""
    vlm.engine.caches.clear()
    outcomes = vlm.batch(asked, batch_size=size)
    return [outcome.result.token_ids for outcome in outcomes if outcome.result]


def main() -> None:
    """Print seconds and ratios by batch size, and a line of JSON."""
    parser = argparse.ArgumentParser(description="Time batches of questions.")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--count", type=int, default=8, help="questions in a run")
    parser.add_argument("--side", type=int, default=128, help="pixels of a picture")
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()
    vlm = load(arguments.model)
    asked = requests(arguments.count, arguments.side, arguments.max_tokens)
    expected = one_by_one(vlm, asked)
    jobs: dict[str, Job] = {"one by one": partial(one_by_one, vlm, asked)}
    for size in arguments.sizes:
        if together(vlm, asked, size) != expected:
            raise SystemExit(f"batches of {size} answer otherwise than one by one")
        jobs[f"batches of {size}"] = partial(together, vlm, asked, size)
    seconds = time_in_turn(jobs, arguments.runs)
    for name, took in seconds.items():
        ratio = seconds["one by one"] / took
        print(f"{name:14} {1000 * took:8.1f} ms  {ratio:.2f}")
    tokens = sum(len(each) for each in expected)
    report("batch", {"requests": len(asked), "tokens": tokens, "seconds": seconds})


if __name__ == "__main__":
    main()
