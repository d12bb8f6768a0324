"""`fastvlm-mlx generate`: answer a question about images."""

import argparse
import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

from ..errors import FastVLMError, OptionError, PromptError, quoted
from .arguments import (
    Verbs,
    add_everywhere,
    add_limit,
    add_memory,
    add_model,
    add_preprocessing,
    add_sampling,
    chosen_options,
    model_name,
)
from .prompt_cache import prompt_cache
from .stats import answer_stats, cache_stats
from .terminal import answer, answer_json, read_bytes, read_input, remark, say
from .typed_images import STDIN, image_source, refuse_folder, split_words

if TYPE_CHECKING:
    from ..config import FastVLMConfig
    from ..generation.result import GenerationResult
    from ..generation.text_stream import TextStream
    from ..images.decode import ImageFile, ImageSource
    from ..images.preprocessing import Fit
    from ..options import GenerationOptions

DEFAULT_QUESTION = "Describe the picture."
"""What is asked about an image that comes without a question; nano learned it so."""


def add_parser(verbs: Verbs) -> None:
    """Add this verb to the command."""
    parser = verbs.add_parser(
        "generate",
        help="answer a question about an image",
        description="Answer a question about an image, as it is written. The word "
        'generate may be left out: fastvlm-mlx photo.jpg "What is this?"',
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="IMAGE ... QUESTION",
        help=f"images, and the question (default: {DEFAULT_QUESTION})",
    )
    add_model(parser)
    add_limit(parser)
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="PATH",
        help="an image, or - for standard input; may be given several times",
    )
    parser.add_argument(
        "--prompt", metavar="TEXT", help="the question, or - for standard input"
    )
    parser.add_argument("--system", metavar="TEXT", help="replaces the system prompt")
    add_preprocessing(parser)
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
    from ..resolve import find_model

    chosen = chosen_options(arguments)
    options = GenerationOptions.of(**chosen)
    prompt, images = _read_inputs(arguments)
    for image in images:
        if isinstance(image, str):
            refuse_folder(image)
            check_file(image)
    if not images and not arguments.quiet:
        say("no image was given; --image PATH shows one")
    model = find_model(model_name(arguments), arguments.revision)
    # All imports before the thread: one that is interrupted would leave it waiting.
    from ..fastvlm import load

    sources = _opened_ahead(images, model.config, options)
    vlm = load(
        model,
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
    images: list[str | bytes], config: "FastVLMConfig", options: "GenerationOptions"
) -> "list[ImageSource]":
    """Have images prepared in a thread, at a resolution that the model takes.

    The engine finds the same frame for an image that was brought to it already. Of
    AnyRes it needs the original. The thread imports nothing: an import that Ctrl-C
    interrupts elsewhere may never let go of what the thread would wait for.
    """
    from ..images.decode import open_ahead, read_file, upright_size
    from ..images.image import with_preprocessing
    from ..images.resolution import check

    def frame(source: "ImageSource | ImageFile") -> "tuple[tuple[int, int], Fit]":
        _, prep = with_preprocessing(source, config, options)
        return prep.size, prep.mode

    try:
        check(config, options)
    except FastVLMError:  # the model says so, after what is wrong with the prompt
        return [*images]
    if options.anyres:
        return [*images]
    sources: list[Any] = [*images]
    with contextlib.suppress(FastVLMError):  # said when the image is opened
        for place, image in enumerate(images):
            sources[place] = read_file(image) or image
            upright_size(sources[place])  # imports what its format needs
    return [*open_ahead(sources, frame, options.exact_pixels)]


def _read_inputs(arguments: argparse.Namespace) -> tuple[str, list[str | bytes]]:
    """The question, and images as the engine takes them."""
    named, question = split_words(arguments.words)
    named = [*arguments.image, *named]
    prompt = _prompt(arguments.prompt, question, has_image=bool(named))
    if [prompt, *named].count(STDIN) > 1:
        raise OptionError("Only one of --prompt and --image can be - (standard input).")
    images = [read_bytes() if i == STDIN else image_source(i) for i in named]
    return read_input().strip() if prompt == STDIN else prompt, images


def _prompt(stated: str | None, question: str | None, has_image: bool) -> str:
    if stated is not None and question is not None:
        raise PromptError(
            f"There are two questions, {quoted(stated)} and {quoted(question)}; "
            "expected one."
        )
    if stated is None and question is None and not has_image:
        raise PromptError(
            'There is neither an image nor a question; expected IMAGE "QUESTION", '
            "or --image PATH --prompt TEXT."
        )
    return stated or question or (DEFAULT_QUESTION if stated is None else stated)


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
