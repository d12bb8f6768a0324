"""Time whole methods and print the paper's table 10 beside them.

`--quick` measures two layers of each decoder and three chunks of a long prefill, and
calculates the rest, which the output says. Without it each job is repeated, every chunk
is read, and as many layers as fit into half of the memory are measured: for a Mac or a
GPU. On a CPU that others use, `--processor-time` with one thread
(`OPENBLAS_NUM_THREADS=1`) counts what the job itself computed and not what it waited
for; its ratios are one thread's.
"""

import argparse
from collections import defaultdict
from dataclasses import asdict, replace

from benchmarks.measuring.harness import report
from benchmarks.paper.decoders import DECODERS
from benchmarks.paper.effort import QUICK, Effort
from benchmarks.paper.encode import encode_seconds
from benchmarks.paper.headlines import HEADLINES
from benchmarks.paper.methods import ENCODERS_ALONE, METHODS, Method, View
from benchmarks.paper.prefill import Decoder, Prefill, layers_that_fit
from benchmarks.paper.table import (
    Row,
    measured_ttft,
    print_encoders,
    print_headlines,
    print_scaled,
    print_table,
)
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.device.memory import memory_size

PATIENCE = 60.0
"""Seconds after which a job is not repeated any more, if not quick."""


def main() -> None:
    """Print the tables, and a line of JSON."""
    arguments = _parse()
    effort = QUICK if arguments.quick else Effort(arguments.runs, PATIENCE)
    effort = replace(effort, own_time=arguments.processor_time)
    chosen = [METHODS[name] for name in arguments.methods or METHODS]
    views = [view for method in chosen for view in method.views]
    if arguments.methods is None:
        views += ENCODERS_ALONE
    encoded = measure_encoders(views, effort)
    print_encoders(encoded)
    results: dict[str, object] = {
        "quick": arguments.quick,
        "processor time": arguments.processor_time,
        "encoders": {f"{name} {side}": took for (name, side), took in encoded.items()},
    }
    if not arguments.encoders:
        results |= compare(chosen, encoded, measure_prefills(chosen, effort))
    report("paper", results)


def compare(
    methods: list[Method],
    encoded: dict[tuple[str, int], float],
    prefills: dict[tuple[str, int], Prefill],
) -> dict[str, object]:
    """Print the methods' tables; their rows and the claims as JSON."""
    rows = {
        method.name: Row(
            sum(view.count * encoded[view.encoder, view.side] for view in method.views),
            prefills.get((str(method.decoder), method.tokens)),
        )
        for method in methods
    }
    print_table(rows)
    print_headlines(rows)
    print_scaled(rows)
    here = measured_ttft(rows)
    return {
        "rows": {name: asdict(row) for name, row in rows.items()},
        "claims": {headline.claim: headline.value(here) for headline in HEADLINES},
    }


def measure_encoders(views: list[View], effort: Effort) -> dict[tuple[str, int], float]:
    """Seconds of one picture by encoder and side; each pair is measured once."""
    took: dict[tuple[str, int], float] = {}
    for view in views:
        key = view.encoder, view.side
        if key not in took:
            took[key] = encode_seconds(*key, effort)
            print(f"encode {key[0]} {key[1]}: {1000 * took[key]:.0f} ms", flush=True)
    return took


def measure_prefills(
    methods: list[Method], effort: Effort
) -> dict[tuple[str, int], Prefill]:
    """Prefills by decoder and token count; one decoder is in memory at a time."""
    wanted: dict[str, set[int]] = defaultdict(set)
    for method in methods:
        if method.decoder is not None:
            wanted[method.decoder].add(method.tokens)
    found: dict[tuple[str, int], Prefill] = {}
    for name, counts in wanted.items():
        config = DECODERS[name]
        fit = layers_that_fit(config, memory_size() / 2)
        decoder = Decoder(config, effort.layers or fit)
        for tokens in sorted(counts):
            prefill = decoder.prefill(tokens, effort)
            found[name, tokens] = prefill
            took = f"{1000 * prefill.seconds:.0f} ms"
            print(f"prefill {name} {tokens}: {took} ({prefill})", flush=True)
        del decoder
        mx.clear_cache()
    return found


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.paper", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="parts, scaled")
    parser.add_argument(
        "--runs", type=int, default=5, help="of each part, if not quick"
    )
    parser.add_argument(
        "--encoders", action="store_true", help="no decoders: encoders by themselves"
    )
    parser.add_argument(
        "--processor-time", action="store_true", help="not the clock's, on a busy CPU"
    )
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, metavar="NAME", help="only these rows"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
