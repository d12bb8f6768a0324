"""Jobs on disk: requests from a JSONL file or from images, answers to a JSONL file.

A job may be ended at any moment and started again; see answer_file.py.
"""

import glob
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .answer_file import AnswerFile, JobLine
from .errors import FastVLMError, JobError, quoted, shortened
from .fastvlm import FastVLM
from .images.formats import SUFFIXES
from .images.sources import is_url
from .paths import expanded
from .request import Request
from .timings import Progress, unreported

_MOST_COMPLAINTS = 5

_LONGEST_COMPLAINT = 300


@dataclass(frozen=True)
class JobReport:
    """What a job came to, lines of earlier runs included."""

    lines: int
    failed: int  # of them, with an error
    found: int  # of them, from earlier runs
    failed_ids: tuple[str | int, ...] = field(default=(), compare=False)
    left_out: tuple[str, ...] = ()  # what folders hold besides images


def lines_from_jsonl(
    path: Path, defaults: Mapping[str, Any], model: str
) -> list[JobLine]:
    """Read and check the requests of a job, one JSON object per line.

    Args:
        path: its images' paths are relative to its folder.
        defaults: arguments of Request for lines that do not say otherwise.
        model: what else decides the answers.

    Raises:
        JobError: names the lines that are no requests, and why.
    """
    tasks: dict[str | int, JobLine] = {}
    lines: dict[str | int, int] = {}
    complaints = []
    for number, line in _numbered_lines(path):
        try:
            task = _task(_object(line), number, defaults, model)
            if task.id in tasks:
                raise JobError(
                    f"the id {quoted(task.id)} is that of line {lines[task.id]}; "
                    "expected one of its own, or none"
                )
            Request.of(task.arguments)
        except FastVLMError as error:
            why = shortened(str(error).rstrip("."), _LONGEST_COMPLAINT)
            complaints.append(f"line {number}: {why}")
        else:
            tasks[task.id], lines[task.id] = task, number
    if complaints:
        raise JobError(_complaint(path, complaints))
    if not tasks:
        raise JobError(f"{path} holds no request; expected one JSON object per line.")
    return [_beside(path, task) for task in tasks.values()]


def lines_from_images(
    patterns: Sequence[str], defaults: Mapping[str, Any], model: str
) -> list[JobLine]:
    """One question about each of many images; an image's path is its id.

    Args:
        patterns: files, folders, and patterns such as "photos/**/*.jpg". Of a folder
            all files are taken whose names end as those of images do, but hidden ones
            and those of folders in it; `left_out` lists the others.
        defaults: the arguments of Request, images left out.

    Raises:
        JobError: nothing is there.
        FastVLMError: the arguments are no request.
    """
    paths = dict.fromkeys(path for pattern in patterns for path in _matches(pattern))
    tasks = []
    for path in paths:
        arguments = {**defaults, "images": [path]}
        tasks.append(JobLine(path, arguments, _digest(arguments, model)))
    Request.of(tasks[0].arguments)  # they differ in their image only
    return tasks


def left_out(patterns: Sequence[str]) -> list[str]:
    """What lies in the folders of `lines_from_images` and is asked nothing about.

    Returns:
        Paths, those of folders with a "/" at their end; hidden ones are among them.
    """
    paths = (path for pattern in patterns for path in _not_matched(pattern))
    return [*dict.fromkeys(paths)]


def run_job(
    load: Callable[[], FastVLM],
    tasks: Sequence[JobLine],
    output: Path,
    *,
    batch_size: int,
    progress: Progress = unreported,
    left_out: Sequence[str] = (),
) -> JobReport:
    """Answer what has no line in `output` yet, a line each, in the order of finishing.

    Args:
        load: called only if there is something to answer.
        left_out: for the report.

    Raises:
        JobError: `output` belongs to another job, or to a run that is going on.
        WriteError: `output` cannot be written.
    """
    with AnswerFile(output, tasks) as answers:
        found = len(answers.done)
        progress(found, len(tasks))
        todo = [task for task in tasks if task.id not in answers.done]
        if todo:
            requests = (task.arguments for task in todo)
            outcomes = load().batch_as_finished(requests, batch_size=batch_size)
            for outcome in outcomes:
                answers.append(todo[outcome.index], outcome)
                progress(len(answers.done), len(tasks))
        errors = {*answers.failed}
        failed = tuple(task.id for task in tasks if task.id in errors)
        return JobReport(len(answers.done), len(failed), found, failed, tuple(left_out))


def _numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, counted from 1."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if line.strip():
                    yield number, line
    except OSError as error:
        raise JobError(f"{path} cannot be read: {error.strerror or error}.") from None


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise JobError(f"it is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise JobError(f"it is a JSON {type(found).__name__}; expected an object")
    return found


def _task(
    given: dict[str, Any], number: int, defaults: Mapping[str, Any], model: str
) -> JobLine:
    id_ = given.pop("id", number)
    if isinstance(id_, bool) or not isinstance(id_, str | int):
        raise JobError(f"id is {quoted(id_)}; expected a text or a whole number")
    arguments = {**defaults, **given}
    images = arguments.get("images", [])
    images = [images] if isinstance(images, str) else images
    if not isinstance(images, list) or not all(
        i and isinstance(i, str) for i in images
    ):
        raise JobError(
            f"images is {quoted(images)}; expected a path or a list of paths, or no "
            "images for text alone"
        )
    arguments["images"] = images
    return JobLine(id_, arguments, _digest(arguments, model))


def _beside(path: Path, task: JobLine) -> JobLine:
    """The same line, its images' paths read from the folder of the job's file."""
    images = [_from_folder(str(path.parent), i) for i in task.arguments["images"]]
    return JobLine(task.id, {**task.arguments, "images": images}, task.digest)


def _from_folder(folder: str, image: str) -> str:
    if is_url(image):
        return image
    if image.startswith("~"):
        return str(expanded(image))
    return _plain_path(os.path.join(folder, image))


def _plain_path(text: str) -> str:
    """As pathlib writes it; a "~" that is no home folder keeps its "./"."""
    path = str(Path(text))
    return f"./{path}" if path.startswith("~") else path


def _digest(arguments: Mapping[str, Any], model: str) -> str:
    text = json.dumps([model, arguments], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _complaint(path: Path, complaints: list[str]) -> str:
    more = len(complaints) - _MOST_COMPLAINTS
    shown = "; ".join(complaints[:_MOST_COMPLAINTS])
    return f"{path}: {shown}" + (f"; and {more} more lines." if more > 0 else ".")


def _matches(pattern: str) -> list[str]:
    found, _ = _sorted_out(pattern)
    if not found:
        raise JobError(
            f"{shortened(pattern)} holds no image; expected files, or a folder."
        )
    return found


def _not_matched(pattern: str) -> list[str]:
    _, others = _sorted_out(pattern)
    return [f"{each.rstrip('/')}/" if os.path.isdir(each) else each for each in others]


def _sorted_out(pattern: str) -> tuple[list[str], list[str]]:
    """The images that a file, a folder or a pattern means, and what else is there."""
    path = _plain_path(os.path.expanduser(pattern))
    if os.path.isdir(path):
        there, is_meant = _listed(path), _looks_like_image
    elif os.path.exists(path):
        return [path], []
    else:
        there, is_meant = sorted(glob.glob(path, recursive=True)), os.path.isfile
    found = [each for each in there if is_meant(each)]
    return found, [each for each in there if not is_meant(each)]


def _listed(folder: str) -> list[str]:
    return sorted(os.path.join(folder, name) for name in os.listdir(folder))


def _looks_like_image(path: str) -> bool:
    """By its name. What macOS leaves beside a file is hidden, and named like it."""
    name = os.path.basename(path)
    known = os.path.splitext(name)[1].lower() in SUFFIXES
    return known and not name.startswith(".") and os.path.isfile(path)
