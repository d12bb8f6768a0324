"""Arguments that several verbs share, each group in one place."""

import argparse
from typing import Any, TypeAlias

from ..config import GROUP_SIZES, IMAGE_MODES
from ..errors import OptionError
from ..paths import expanded
from .parser import Parser
from .terminal import say

Verbs: TypeAlias = "argparse._SubParsersAction[Parser]"


GOES_ON = "stopped; the same command goes on"
"""What is said at Ctrl-C by verbs that keep what is done."""


def typed_path(text: str) -> str:
    """A path as it was typed; no shell expands the `~` of `--out=~/x`."""
    return str(expanded(text))


def add_model(parser: argparse.ArgumentParser) -> None:
    """Which model, and what it computes in."""
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="a model folder, a hub id, 0.5b, 1.5b or 7b for Apple's models (0.5b-4bit "
        'quantizes it), or "nano", which is inside (default)',
    )
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="compute in (default: what suits this machine)",
    )


def add_limit(parser: argparse.ArgumentParser) -> None:
    """How much memory may be taken."""
    parser.add_argument(
        "--memory-limit",
        metavar="SIZE",
        help="refuse what takes more, for example 6GB (default: "
        "$FASTVLM_MLX_MEMORY_LIMIT, or what the machine has)",
    )


def add_batch_size(parser: argparse.ArgumentParser) -> None:
    """How many answers grow together."""
    parser.add_argument(
        "--batch-size",
        type=int,
        default=8,
        metavar="N",
        help="answers that grow at a time (default 8)",
    )


def model_name(arguments: argparse.Namespace) -> str:
    """The model asked for, or the embedded one, said aloud."""
    if arguments.model is not None:
        return str(arguments.model)
    if not arguments.quiet:
        say(
            "no --model given, using the embedded nano; "
            "it knows drawn shapes and short texts"
        )
    return "nano"


def add_preprocessing(parser: argparse.ArgumentParser) -> None:
    """How images are brought to the encoder."""
    looking = parser.add_argument_group("looking")
    looking.add_argument(
        "--resolution",
        metavar="N|HxW|auto",
        help="pixels that the image is brought to, multiples of 64, such as 256 to "
        "1536; auto goes by the image's size up to what training saw, auto:N up to N",
    )
    looking.add_argument(
        "--max-visual-tokens",
        type=int,
        metavar="N",
        help="of each image; --resolution auto keeps to it",
    )
    looking.add_argument(
        "--keep-aspect",
        action="store_true",
        help="a frame of the image's own shape, its longer side the resolution: no "
        "black bars, fewer tokens",
    )
    looking.add_argument(
        "--anyres",
        action="store_true",
        help="an overview and 2x2 tiles of that resolution: 5 times the tokens",
    )
    looking.add_argument(
        "--image-mode",
        choices=IMAGE_MODES,
        help="pad to the frame on black, or crop to it (default: the model's)",
    )
    looking.add_argument(
        "--exact-pixels",
        action="store_true",
        help="decode large JPEGs in full: slower, and equal to the reference to the "
        "bit",
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


def add_memory(parser: argparse.ArgumentParser) -> None:
    """What is kept, and in how much memory."""
    memory = parser.add_argument_group("memory")
    memory.add_argument(
        "--prompt-cache",
        type=typed_path,
        metavar="FILE",
        help="take up the prompt that FILE holds, and leave this one there",
    )
    memory.add_argument(
        "--feature-cache",
        type=typed_path,
        metavar="FOLDER",
        help="keep encoded images there for the next run",
    )
    memory.add_argument(
        "--no-cache",
        dest="use_cache",
        action="store_false",
        help="encode and read everything anew",
    )
    memory.add_argument(
        "--prefill-step",
        type=int,
        metavar="N",
        help="positions to read at a time (default: by the memory)",
    )
    memory.add_argument(
        "--max-kv-size",
        type=int,
        metavar="N",
        help="positions to keep; a longer answer forgets its own beginning, never "
        "the images",
    )
    memory.add_argument(
        "--kv-bits", type=int, choices=(4, 8), help="quantize keys and values"
    )
    memory.add_argument(
        "--kv-group-size",
        type=int,
        choices=GROUP_SIZES,
        default=64,
        help="keys and values that share a scale (default: 64)",
    )
    memory.add_argument(
        "--quantized-kv-start",
        type=int,
        default=0,
        metavar="N",
        help="positions before keys and values are quantized (default: 0)",
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
    "max_visual_tokens",
    "keep_aspect",
    "anyres",
    "image_mode",
    "exact_pixels",
    "use_cache",
    "prefill_step",
    "max_kv_size",
    "kv_bits",
    "kv_group_size",
    "quantized_kv_start",
)
"""Arguments that are fields of GenerationOptions."""


def chosen_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the groups above were given, for GenerationOptions.of."""
    given = vars(arguments)
    if given.get("prompt_cache") and not arguments.use_cache:
        raise OptionError("--prompt-cache and --no-cache exclude each other.")
    return {name: given[name] for name in _OPTIONS if name in given}


def add_everywhere(parser: argparse.ArgumentParser) -> None:
    """What every verb has."""
    parser.add_argument("--quiet", action="store_true", help="no remarks on stderr")
    parser.add_argument("--debug", action="store_true", help="tracebacks for errors")
