"""`fastvlm-mlx quality`: how far one model's answers are from another's."""

import argparse
import dataclasses
import importlib
from typing import Any

from .arguments import Verbs, add_everywhere
from .terminal import ProgressBar, answer, answer_json


def add_parser(verbs: Verbs) -> None:
    """Tell the command of this verb."""
    parser = verbs.add_parser(
        "quality",
        help="tell what one model lost against another",
        description="Ask A built-in questions about built-in images, lead B along "
        "its answers, and compare their next-token distributions. Both are two forms "
        "of one model: B quantized, A at full precision.",
    )
    for name, what in (("A", "the model to measure with"), ("B", "the one to judge")):
        parser.add_argument(
            name.lower(), metavar=name, help=f"{what}: a folder, a hub id, or nano"
        )
    parser.add_argument("--revision", help="branch, tag or commit of hub ids")
    add_samples(parser, "--samples")
    parser.add_argument("--json", action="store_true", help="one JSON object instead")
    add_everywhere(parser)
    parser.set_defaults(run=run)


def add_samples(parser: argparse._ActionsContainer, flag: str) -> None:
    """How many questions judge."""
    parser.add_argument(
        flag,
        type=int,
        default=32,
        metavar="N",
        help="questions to judge with, 1 to 256 (default: 32)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Find both models, compare, and say what came of it."""
    from ..resolve import resolve

    converter = importlib.import_module("fastvlm_mlx.convert")
    converter.check_samples(arguments.samples)
    quality = converter.compare_folders(
        resolve(arguments.a, arguments.revision),
        resolve(arguments.b, arguments.revision),
        count=arguments.samples,
        progress=ProgressBar(hidden=arguments.quiet, unit=" steps"),
    )
    if arguments.json:
        answer_json(dataclasses.asdict(quality))
    else:
        answer("\n".join(quality_lines(quality)))


def quality_lines(quality: Any) -> list[str]:
    """A Quality in words."""
    return [
        f"KL divergence {quality.kl_divergence:.2g} nats per token, "
        f"{quality.largest_kl:.2g} at most",
        f"same first choice at {quality.top1_agreement:.1%} of "
        f"{quality.positions} positions, in {quality.samples} answers about images",
        f"perplexity times {quality.perplexity_ratio:.4g}",
    ]
