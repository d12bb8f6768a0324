"""`fastvlm-mlx doctor`: what this machine can do, what is slow, and how to mend it."""

import argparse
import dataclasses
from typing import TYPE_CHECKING

from .arguments import Verbs, add_everywhere
from .terminal import answer, answer_json

if TYPE_CHECKING:
    from ..planning.doctor import Facts


def add_parser(verbs: Verbs) -> None:
    """Tell the command of this verb."""
    parser = verbs.add_parser(
        "doctor",
        help="examine this machine",
        description="Say what MLX runs on here and how fast, what will be slow, and "
        "how to mend it. Takes about three seconds.",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead")
    add_everywhere(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Facts at once, then each rate as it is measured, then advice."""
    from ..planning.doctor import advise, look, rates

    facts = look()
    if arguments.json:
        measured = dict(rates())
        advice = list(advise(facts, measured["float32"]))
        values = {**dataclasses.asdict(facts), "rates": measured, "advice": advice}
        answer_json(values)
        return
    answer(_described(facts))
    measured = {}
    for name, rate in rates():
        measured[name] = rate
        unit = "GB/s read" if name == "memory" else "GFLOP/s matmul"
        answer(f"  {name:<12}{rate / 1e9:9.1f} {unit}")
    for line in advise(facts, measured["float32"]):
        answer(f"- {line}")


def _described(facts: "Facts") -> str:
    rows = {
        "machine": f"{facts.device} ({facts.architecture or facts.system})",
        "python": f"{facts.python}, MLX {facts.mlx} on {facts.backend}, "
        f"mlx-lm {facts.mlx_lm}",
        "memory": f"{facts.memory / 1e9:.1f} GB, of which arrays may take "
        f"{facts.usable / 1e9:.1f} GB",
    }
    if facts.backend == "cpu":
        rows["BLAS"] = facts.openblas or "MLX's own"
        kernels = "kernels compiled" if facts.kernels else "no kernels compiled yet"
        rows["compiler"] = f"{facts.compiler}, {kernels}" if facts.compiler else "none"
    return "\n".join(f"  {name:<12}{value}" for name, value in rows.items())
