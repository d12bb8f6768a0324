"""Arguments that several verbs share, each group in one place."""

import argparse
from typing import Any, TypeAlias

from ..config import IMAGE_MODES
from .terminal import say

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

STDIN = "-"


def add_model(parser: argparse.ArgumentParser) -> None:
    """Which model, and what it computes in."""
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help='a model folder, a hub id, or "nano", which is inside (default)',
    )
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="compute in (default: what suits this machine)",
    )


def model_name(arguments: argparse.Namespace) -> str:
    """The model asked for, or the embedded one, said aloud."""
    if arguments.model is not None:
        return str(arguments.model)
    if not arguments.quiet:
        say("no --model given, using the embedded nano; it knows simple shapes only")
    return "nano"


def add_looking(parser: argparse.ArgumentParser) -> None:
    """How pictures are brought to the encoder."""
    looking = parser.add_argument_group("looking")
    looking.add_argument(
        "--resolution",
        metavar="N|HxW",
        help="pixels that the picture is brought to, multiples of 64",
    )
    looking.add_argument(
        "--image-mode",
        choices=IMAGE_MODES,
        help="pad to the frame on black, or crop to it (default: the model's)",
    )


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """How the answer is chosen, and when it ends."""
    sampling = parser.add_argument_group("sampling")
    sampling.add_argument("--max-tokens", type=int, default=256, metavar="N")
    sampling.add_argument("--temperature", type=float, default=0.0, metavar="T")
    sampling.add_argument("--top-p", type=float, default=1.0, metavar="P")
    sampling.add_argument("--min-p", type=float, default=0.0, metavar="P")
    sampling.add_argument("--top-k", type=int, default=0, metavar="K")
    sampling.add_argument("--seed", type=int, metavar="N")
    sampling.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help="end the answer before this text; may be given several times",
    )


_OPTIONS = (
    "max_tokens",
    "temperature",
    "top_p",
    "min_p",
    "top_k",
    "seed",
    "stop",
    "resolution",
    "image_mode",
)
"""Arguments that are fields of GenerationOptions."""


def chosen_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `add_looking` and `add_sampling` were given, for GenerationOptions.of."""
    return {name: getattr(arguments, name) for name in _OPTIONS}


def add_everywhere(parser: argparse.ArgumentParser) -> None:
    """What every verb has."""
    parser.add_argument("--quiet", action="store_true", help="no remarks on stderr")
    parser.add_argument("--debug", action="store_true", help="tracebacks for errors")
