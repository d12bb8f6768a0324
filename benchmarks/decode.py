"""Tokens per second after the first: `python -m benchmarks.decode`.

By the context that a token sees, by bits, and by the form the weights are kept in: as
`load` leaves them, and as mlx-lm runs them. Random weights of the true geometry.
"""

import argparse

from benchmarks.measuring.geometry import (
    LANGUAGE_MODELS,
    packed_language_model,
    random_language_model,
)
from benchmarks.measuring.harness import report, time_in_turn
from benchmarks.measuring.parts import decode_job

TOKENS = 8


def main() -> None:
    """Print a table, and a line of JSON."""
    parser = argparse.ArgumentParser(description="Time decoding, by context and bits.")
    parser.add_argument("--size", choices=LANGUAGE_MODELS, default="0.5B")
    parser.add_argument("--bits", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--contexts", type=int, nargs="+", default=[280, 1024])
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    results = {}
    for bits in arguments.bits:
        ours = random_language_model(arguments.size, bits)
        packed = packed_language_model(arguments.size, bits)
        for context in arguments.contexts:
            jobs = {
                "ours": decode_job(ours, context, TOKENS),
                "as stored": decode_job(packed, context, TOKENS),
            }
            times = time_in_turn(jobs, arguments.runs)
            rates = {name: TOKENS / took for name, took in times.items()}
            results[f"{bits} bit, context {context}"] = rates
            cells = [f"{name} {rate:.1f} tok/s" for name, rate in rates.items()]
            print(f"{arguments.size} {bits} bit {context:5} positions  ", *cells)
    report("decode", results)


if __name__ == "__main__":
    main()
