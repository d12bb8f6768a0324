"""`fastvlm-mlx evaluate`: a model's accuracy on a benchmark that lies on this disk."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import JobError, quoted
from .arguments import (
    GOES_ON,
    Verbs,
    add_batch_size,
    add_everywhere,
    add_limit,
    add_model,
    add_preprocessing,
    chosen_options,
    model_name,
    typed_path,
)
from .terminal import Resumed, answer, answer_json, named, say

if TYPE_CHECKING:
    from ..evaluate.questions import Questions
    from ..evaluate.table import Table
    from ..evaluate.task import Task

_INSIDE = "easy_vqa"
"""The task whose data comes as a Python package."""


def add_parser(verbs: Verbs) -> None:
    """Add this verb to the command."""
    parser = verbs.add_parser(
        "evaluate",
        help="measure accuracy on a benchmark",
        description=(
            "Ask a model every question of a data set on this disk and judge the "
            "answers as the benchmark does. Records of every question and a summary "
            "with a 95 % interval, beside the paper's figure, are left in --out; the "
            "same command goes on where an earlier one was ended."
        ),
    )
    _add_data(parser)
    add_batch_size(parser)
    parser.add_argument(
        "--max-tokens", type=int, metavar="N", help="per answer (default: the task's)"
    )
    parser.add_argument("--json", action="store_true", help="the summary as JSON")
    add_model(parser)
    add_limit(parser)
    add_preprocessing(parser)
    add_everywhere(parser)
    parser.set_defaults(run=run, when_stopped=GOES_ON)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--task",
        required=True,
        metavar="TASK",
        help="textvqa, vqav2, docvqa, infovqa, chartqa, ocrbench, mmmu, seedbench, "
        "ai2d, scienceqa, gqa, pope, realworldqa, easy-vqa; of lines such as "
        '{"image": …, "question": …, "answer": …} plain, in any case and with any '
        "punctuation, or exact, to the letter",
    )
    parser.add_argument(
        "--data",
        type=typed_path,
        metavar="PATH",
        help="a .jsonl, .parquet or .arrow file, or a folder of a Hugging Face data "
        "set; easy-vqa has its own",
    )
    parser.add_argument(
        "--split",
        metavar="NAME",
        help="of a folder (default: the reported one); what a single file is (default: "
        "its name)",
    )
    parser.add_argument(
        "--images",
        type=typed_path,
        metavar="PATH",
        help="folder where paths of images begin, if not that of the data; for GQA the "
        "table of images",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="the first N questions")
    parser.add_argument(
        "--out",
        type=typed_path,
        metavar="DIR",
        help="folder of the results (default: evaluate-TASK)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Refuse what is wrong before a model is fetched and loaded; then answer."""
    from ..batch import check_size
    from ..evaluate.run import Run, evaluate
    from ..evaluate.tasks import find_task
    from ..fastvlm import load
    from ..options import GenerationOptions

    task = find_task(arguments.task)
    check_size(arguments.batch_size)
    options = _options(arguments)
    GenerationOptions.of(**options)
    questions = _questions(arguments, task)
    model = model_name(arguments)
    out = Path(arguments.out or f"evaluate-{task.name}")
    if not arguments.quiet:
        say(f"answers, records and summary go to the folder {out}")
    vlm = load(
        model,
        revision=arguments.revision,
        dtype=arguments.dtype,
        memory_limit=arguments.memory_limit,
    )
    asked = Run(
        vlm=vlm,
        model=model,
        options=options,
        batch_size=arguments.batch_size,
        progress=Resumed(arguments.quiet, " questions"),
    )
    _tell(arguments, evaluate(asked, questions, out), task)


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    given = chosen_options(arguments)
    return {name: value for name, value in given.items() if value is not None}


def _questions(arguments: argparse.Namespace, task: "Task") -> "Questions":
    from ..evaluate.easy_vqa_rows import easy_vqa_rows
    from ..evaluate.questions import read_questions
    from ..evaluate.source import open_table

    if arguments.limit is not None and arguments.limit < 1:
        raise JobError(
            f"limit is {quoted(arguments.limit)}; expected a number of questions."
        )
    if arguments.data is None and task.name == _INSIDE:
        rows = easy_vqa_rows(arguments.split or task.split)
        return read_questions(task, rows, limit=arguments.limit)
    if arguments.data is None:
        raise JobError(f"There is no data for {task.name}; expected --data PATH.")
    table = open_table(Path(arguments.data), task, arguments.split)
    images, folder = _images(arguments, task)
    return read_questions(task, table, images, arguments.limit, folder)


def _images(
    arguments: argparse.Namespace, task: "Task"
) -> "tuple[Table | None, Path | None]":
    """A table of images by id, or the folder of image files, where one is told."""
    from ..evaluate.source import open_images, open_table

    told = Path(arguments.images) if arguments.images else None
    if task.image_id is None:
        if told is not None and not told.is_dir():
            raise JobError(f"{told} is no folder; expected one of image files.")
        return None, told
    if told is None:
        return open_images(Path(arguments.data), task), None
    return open_images(told, task) or open_table(told, task, arguments.split), None


def _tell(arguments: argparse.Namespace, summary: dict[str, Any], task: "Task") -> None:
    if arguments.json:
        answer_json(summary)
    else:
        answer("\n".join(summary_lines(summary, task.title)))
    failed = summary["failed_rows"]
    if failed and not arguments.quiet:
        total = summary["questions"]
        say(f"{len(failed)} of {total} questions failed: rows {named(failed)}")


def summary_lines(summary: dict[str, Any], title: str) -> list[str]:
    """A summary in words."""
    low, high = summary["interval"]
    failed = f", {summary['failed']} failed" if summary["failed"] else ""
    lines = [
        f"{title}: {summary['metric']} {summary['score']:.2f} % "
        f"({low:.2f} to {high:.2f}), {summary['questions']} questions{failed}"
    ]
    for name in ("accuracy", "precision", "recall", "yes_ratio"):
        if name in summary:
            lines.append(f"  {name.replace('_', ' ')} {summary[name]:.2f} %")
    return [*lines, *_paper_lines(summary["paper"])]


def _paper_lines(paper: dict[str, Any] | None) -> list[str]:
    if paper is None:
        return ["  the paper has no figure for this model and task"]
    notes = "".join(f"; {note}" for note in paper["notes"])
    lines = []
    if paper["score"] is not None:
        off = paper["difference"]
        here = "not comparable" if off is None else f"{off:+.2f} here"
        lines.append(f"  paper ({paper['row']}): {paper['score']:.1f} %, {here}{notes}")
    if paper["model_card"] is not None:
        lines.append(f"  model card: {paper['model_card']['score']:.1f} %{notes}")
    return lines
