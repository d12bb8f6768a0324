"""`fastvlm-mlx generate`: answer a question about a picture."""

import argparse
import dataclasses
import sys
from typing import TYPE_CHECKING, Any

from ..errors import OptionError, PromptError
from .arguments import (
    STDIN,
    Verbs,
    add_everywhere,
    add_looking,
    add_model,
    add_sampling,
    chosen_options,
    model_name,
)
from .terminal import answer, answer_json, remark

if TYPE_CHECKING:
    from ..generate import GenerationResult, TextStream


def add_parser(verbs: Verbs) -> None:
    """Tell the command of this verb."""
    parser = verbs.add_parser(
        "generate",
        help="answer a question about a picture",
        description="Answer a question about a picture, as it is written.",
    )
    add_model(parser)
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="PATH",
        help="a picture, or - for standard input; may be given several times",
    )
    parser.add_argument(
        "--prompt", required=True, metavar="TEXT", help="the question, or - for stdin"
    )
    parser.add_argument("--system", metavar="TEXT", help="replaces the system prompt")
    add_looking(parser)
    add_sampling(parser)
    output = parser.add_argument_group("output")
    output.add_argument("--stats", action="store_true", help="show what it cost")
    output.add_argument("--json", action="store_true", help="one JSON object instead")
    add_everywhere(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Refuse what is wrong before a model is fetched and loaded; then answer."""
    from ..image import check_file
    from ..options import GenerationOptions

    chosen = chosen_options(arguments)
    GenerationOptions.of(**chosen)
    prompt, images = _read_inputs(arguments)
    for image in images:
        if isinstance(image, str):
            check_file(image)
    from ..engine import load

    model = model_name(arguments)
    vlm = load(model, revision=arguments.revision, dtype=arguments.dtype)
    _show(vlm.stream(images, prompt, system=arguments.system, **chosen), arguments)


def _read_inputs(arguments: argparse.Namespace) -> tuple[str, list[str | bytes]]:
    sources = [arguments.prompt, *arguments.image]
    if sources.count(STDIN) > 1:
        raise OptionError("Only one of --prompt and --image can be - (standard input).")
    prompt = arguments.prompt
    if prompt == STDIN:
        prompt = _read_text()
    images = [
        sys.stdin.buffer.read() if image == STDIN else image
        for image in arguments.image
    ]
    return prompt, images


def _read_text() -> str:
    try:
        return sys.stdin.read().strip()
    except UnicodeDecodeError as error:
        raise PromptError(
            f"The standard input is not valid {error.encoding.upper()}; expected text."
        ) from None


def _show(stream: "TextStream", arguments: argparse.Namespace) -> None:
    if arguments.json:
        answer_json(_as_json(stream.result))
    else:
        for text in stream:
            answer(text, end="")
        answer("")
    if arguments.stats:
        remark(_stats(stream.result))


def _as_json(result: "GenerationResult") -> dict[str, Any]:
    timings = dataclasses.asdict(result.timings)
    timings["time_to_first_token"] = result.timings.time_to_first_token
    rates = {
        "prompt_tps": result.prompt_tps,
        "generation_tps": result.generation_tps,
    }
    return {**dataclasses.asdict(result), "timings": timings, **rates}


def _stats(result: "GenerationResult") -> str:
    timings = result.timings
    *parts, decode = [
        _milliseconds(field.name, getattr(timings, field.name))
        for field in dataclasses.fields(timings)
    ]
    first = _milliseconds("time_to_first_token", timings.time_to_first_token)
    return "\n".join(
        [
            f"{result.prompt_tokens} prompt tokens, {result.image_tokens} visual",
            *parts,
            first,
            decode,
            f"{len(result.token_ids)} tokens, {result.generation_tps:.1f} tokens/s, "
            f"finished by {result.finish_reason}"
            + (f" ({result.stop!r})" if result.stop else ""),
            f"peak memory {result.peak_memory / 1e6:.0f} MB",
        ]
    )


def _milliseconds(name: str, seconds: float) -> str:
    return f"{name.replace('_', ' '):<20}{1000 * seconds:9.1f} ms"
