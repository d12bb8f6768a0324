"""`fastvlm-mlx generate`: answer a question about a picture."""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FastVLMError, OptionError, PromptError
from .arguments import (
    STDIN,
    Verbs,
    add_everywhere,
    add_limit,
    add_looking,
    add_memory,
    add_model,
    add_sampling,
    chosen_options,
    model_name,
)
from .prompt_cache import prompt_cache
from .stats import answer_stats, cache_stats
from .terminal import answer, answer_json, remark

if TYPE_CHECKING:
    from ..generation.result import GenerationResult
    from ..generation.text_stream import TextStream
    from ..images.decode import ImageSource, PictureFile
    from ..images.preprocessing import Fit
    from ..options import GenerationOptions


def add_parser(verbs: Verbs) -> None:
    """Tell the command of this verb."""
    parser = verbs.add_parser(
        "generate",
        help="answer a question about a picture",
        description="Answer a question about a picture, as it is written.",
    )
    add_model(parser)
    add_limit(parser)
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
    add_memory(parser)
    output = parser.add_argument_group("output")
    output.add_argument("--stats", action="store_true", help="show what it cost")
    output.add_argument("--json", action="store_true", help="one JSON object instead")
    add_everywhere(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Refuse what is wrong before a model is fetched and loaded; then answer."""
    from ..images.decode import check_file
    from ..options import GenerationOptions
    from ..resolve import resolve

    chosen = chosen_options(arguments)
    options = GenerationOptions.of(**chosen)
    prompt, images = _read_inputs(arguments)
    for image in images:
        if isinstance(image, str):
            check_file(image)
    folder = resolve(model_name(arguments), arguments.revision)
    sources = _opened_ahead(images, folder, options)
    from ..fastvlm import load  # while the pictures are being opened

    vlm = load(
        folder,
        dtype=arguments.dtype,
        cache_folder=arguments.feature_cache,
        memory_limit=arguments.memory_limit,
    )
    with prompt_cache(vlm, arguments.prompt_cache):
        stream = vlm.stream(sources, prompt, system=arguments.system, **chosen)
        _show(stream, arguments)
    if arguments.stats:
        remark(answer_stats(stream.result))
        remark(cache_stats(vlm.cache_stats))


def _opened_ahead(
    images: list[str | bytes], folder: Path, options: "GenerationOptions"
) -> "list[ImageSource]":
    """Have pictures prepared in a thread, at a resolution that the model takes.

    The engine finds the same frame for a picture that was brought to it already. Of
    AnyRes it needs the original.
    """
    from ..images.decode import open_ahead, upright_size
    from ..images.resolution import check, choose_look, depends_on_picture, positions
    from ..model_folder import load_config

    config = load_config(folder)

    def frame(source: "ImageSource | PictureFile") -> "tuple[tuple[int, int], Fit]":
        size = upright_size(source) if depends_on_picture(options) else None
        look = choose_look(config, options, size)
        positions(config, look)
        return look.size, look.mode

    try:
        check(config, options)
    except FastVLMError:  # the model says so, after what is wrong with the prompt
        return [*images]
    if options.anyres:
        return [*images]
    return [*open_ahead(images, frame, options.exact_pixels)]


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


def _as_json(result: "GenerationResult") -> dict[str, Any]:
    timings = dataclasses.asdict(result.timings)
    timings["time_to_first_token"] = result.timings.time_to_first_token
    rates = {
        "prompt_tps": result.prompt_tps,
        "generation_tps": result.generation_tps,
    }
    noted = {"outside_training": result.outside_training}
    return {**dataclasses.asdict(result), **noted, "timings": timings, **rates}
