"""`fastvlm-mlx batch`: answer a file of requests, or ask about a folder of images."""

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import JobError, shortened
from ..paths import expanded
from .arguments import (
    GOES_ON,
    Verbs,
    add_batch_size,
    add_everywhere,
    add_limit,
    add_model,
    add_preprocessing,
    add_sampling,
    chosen_options,
    model_name,
    typed_path,
)
from .terminal import FAILURE, OK, Resumed, named, say
from .typed_images import looks_like_image

if TYPE_CHECKING:
    from ..answer_file import JobLine
    from ..fastvlm import FastVLM
    from ..jobs import JobReport

_JSONL = (".jsonl", ".ndjson")


def add_parser(verbs: Verbs) -> None:
    """Add this verb to the command."""
    parser = verbs.add_parser(
        "batch",
        help="answer a file of requests, or ask about many images",
        description=(
            "Answer every line of a JSONL file, or ask one thing about many images. "
            "Each answer is a line of OUTPUT; the same command goes on where an "
            "earlier one was ended. Exit code 1 says that some lines hold an error."
        ),
    )
    parser.add_argument(
        "input",
        nargs="+",
        metavar="INPUT",
        help='a .jsonl file with lines such as {"prompt": "…", "images": ["a.jpg"]}; '
        "or images, folders, and patterns in quotes",
    )
    parser.add_argument(
        "output",
        type=typed_path,
        metavar="OUTPUT",
        help="the .jsonl file of answers",
    )
    parser.add_argument(
        "--prompt", metavar="TEXT", help="the question, where a line has none"
    )
    parser.add_argument(
        "--system", metavar="TEXT", help="the system prompt, where a line has none"
    )
    add_batch_size(parser)
    add_model(parser)
    add_limit(parser)
    add_preprocessing(parser)
    add_sampling(parser)
    add_everywhere(parser)
    parser.set_defaults(run=run, when_stopped=GOES_ON)


def run(arguments: argparse.Namespace) -> int:
    """Refuse what is wrong before a model is fetched and loaded; then answer."""
    from ..batch import check_size
    from ..jobs import run_job

    check_size(arguments.batch_size)
    model = model_name(arguments)
    tasks = _tasks(arguments, model)
    others = _left_out(arguments)
    if others and not arguments.quiet:
        say(_left_out_line(others))
    began = time.perf_counter()
    report = run_job(
        lambda: _load(arguments, model),
        tasks,
        Path(arguments.output),
        batch_size=arguments.batch_size,
        progress=Resumed(arguments.quiet, " lines"),
        left_out=others,
    )
    if not arguments.quiet:
        say(_summary(report, time.perf_counter() - began))
        if report.failed:
            say(_failures(report))
    return FAILURE if report.failed else OK


def _load(arguments: argparse.Namespace, model: str) -> "FastVLM":
    from ..fastvlm import load

    return load(
        model,
        revision=arguments.revision,
        dtype=arguments.dtype,
        memory_limit=arguments.memory_limit,
    )


def _tasks(arguments: argparse.Namespace, model: str) -> "list[JobLine]":
    from ..jobs import lines_from_images, lines_from_jsonl

    if looks_like_image(arguments.output):
        raise JobError(
            f"The output is {shortened(arguments.output)}; expected the name of a "
            ".jsonl file for the answers, after the inputs."
        )
    decisive = f"{model} {arguments.revision} {arguments.dtype}"
    files = [each for each in arguments.input if each.lower().endswith(_JSONL)]
    if not files and arguments.prompt is None:
        raise JobError("There is no question; expected --prompt TEXT with images.")
    if not files:
        return lines_from_images(arguments.input, _defaults(arguments), decisive)
    if len(arguments.input) > 1:
        raise JobError(
            f"{shortened(files[0])} came with other inputs; expected one .jsonl file, "
            "or images."
        )
    source = expanded(files[0])
    if os.path.realpath(source) == os.path.realpath(arguments.output):
        raise JobError(f"{shortened(source)} is input and output; expected two files.")
    return lines_from_jsonl(source, _defaults(arguments), decisive)


def _left_out(arguments: argparse.Namespace) -> list[str]:
    """What folders hold besides images; the answers may lie there too."""
    from ..jobs import left_out

    if any(each.lower().endswith(_JSONL) for each in arguments.input):
        return []
    output = os.path.abspath(arguments.output)
    return [
        each for each in left_out(arguments.input) if os.path.abspath(each) != output
    ]


def _left_out_line(others: list[str]) -> str:
    files = "1 file" if len(others) == 1 else f"{len(others)} files"
    return f"{files} left out: {named(others)}"


def _defaults(arguments: argparse.Namespace) -> dict[str, Any]:
    defaults = chosen_options(arguments)
    for name in ("prompt", "system"):
        if getattr(arguments, name) is not None:
            defaults[name] = getattr(arguments, name)
    return defaults


def _summary(report: "JobReport", seconds: float) -> str:
    new = report.lines - report.found
    earlier = f", {report.found} from earlier runs" if report.found else ""
    failed = f", {report.failed} with an error" if report.failed else ""
    return f"{report.lines} lines{earlier}{failed}; {new} in {seconds:.1f} s"


def _failures(report: "JobReport") -> str:
    """Which lines hold an error: by their ids, in the order of the answers."""
    return f"{report.failed} of {report.lines} lines failed: {named(report.failed_ids)}"
