"""Time to the first token, part by part: `python -m benchmarks.ttft`.

A JPEG file in, a token out, by resolution, size of the language model and bits.
Random weights of the true geometry; one warm-up, then medians.
"""

import argparse
import statistics

from benchmarks.measuring.geometry import LANGUAGE_MODELS
from benchmarks.measuring.harness import report
from benchmarks.measuring.parts import Answerer, draw_picture


def measure(answerer: Answerer, side: int, runs: int) -> dict[str, float]:
    """Median seconds of each part."""
    picture = draw_picture(side)
    answerer.first_token(picture, side)
    times = [answerer.first_token(picture, side) for _ in range(runs)]
    return {part: statistics.median(each[part] for each in times) for part in times[0]}


def main() -> None:
    """Print a table in milliseconds, and a line of JSON."""
    parser = argparse.ArgumentParser(description="Time to the first token, by parts.")
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument(
        "--sizes", nargs="+", choices=LANGUAGE_MODELS, default=["0.5B"], metavar="SIZE"
    )
    parser.add_argument("--bits", type=int, nargs="+", default=[4], help="0 is dense")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    results = {}
    for size in arguments.sizes:
        for bits in arguments.bits:
            answerer = Answerer(size, bits)
            for side in arguments.sides:
                found = measure(answerer, side, arguments.runs)
                results[f"{size} {bits} bit {side} px"] = found
                cells = [f"{part} {1000 * took:.0f}" for part, took in found.items()]
                print(f"{size} {bits} bit {side:5} px  ms:  " + "   ".join(cells))
    report("ttft", results)


if __name__ == "__main__":
    main()
