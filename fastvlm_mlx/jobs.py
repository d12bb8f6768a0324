"""Jobs on disk: requests from a JSONL file or from pictures, answers to a JSONL file.

A job may be ended at any moment, by kill -9 or by the mains, and started again: every
answer is one line, on the disk before the next one is written, and known by the
request that it answers. What is there is not asked again; a line that was cut off is.
"""

import glob
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from .atomic_file import Lock, lock
from .errors import FastVLMError, JobError, WriteError
from .fastvlm import FastVLM
from .request import Outcome, Request
from .timings import Progress, unreported

PICTURE_SUFFIXES = frozenset(
    ".avif .bmp .gif .heic .heif .jp2 .jpeg .jpg .png .tif .tiff .webp".split()
)
"""Names that a folder's pictures end with."""

_MOST_COMPLAINTS = 5

_FIRST_BYTES = b'{"id": '
"""How every line of answers begins: a cut-off line is known by it."""


@dataclass(frozen=True)
class Task:
    """A request of a job."""

    id: str | int
    arguments: Mapping[str, Any]  # of Request
    digest: str  # of what decides the answer


@dataclass(frozen=True)
class JobReport:
    """What a job came to, lines of earlier runs included."""

    lines: int
    failed: int  # of them, with an error
    found: int  # of them, from earlier runs


def tasks_from_jsonl(path: Path, defaults: Mapping[str, Any], model: str) -> list[Task]:
    """Read and check the requests of a job, one JSON object per line.

    Args:
        path: its pictures' paths are relative to its folder.
        defaults: arguments of Request for lines that do not say otherwise.
        model: what else decides the answers.

    Raises:
        JobError: names the lines that are no requests, and why.
    """
    tasks: dict[str | int, Task] = {}
    lines: dict[str | int, int] = {}
    complaints = []
    for number, line in _numbered_lines(path):
        try:
            task = _task(_object(line), number, defaults, model)
            if task.id in tasks:
                raise JobError(
                    f"the id {task.id!r} is that of line {lines[task.id]}; "
                    "expected one of its own, or none"
                )
            Request.of(task.arguments)
        except FastVLMError as error:
            complaints.append(f"line {number}: {str(error).rstrip('.')}")
        else:
            tasks[task.id], lines[task.id] = task, number
    if complaints:
        raise JobError(_complaint(path, complaints))
    if not tasks:
        raise JobError(f"{path} holds no request; expected one JSON object per line.")
    return [_beside(path, task) for task in tasks.values()]


def tasks_from_pictures(
    patterns: Sequence[str], defaults: Mapping[str, Any], model: str
) -> list[Task]:
    """One question about each of many pictures; a picture's path is its id.

    Args:
        patterns: files, folders, and patterns such as "photos/**/*.jpg".
        defaults: the arguments of Request, pictures left out.

    Raises:
        JobError: nothing is there.
        FastVLMError: the arguments are no request.
    """
    paths = dict.fromkeys(path for pattern in patterns for path in _matches(pattern))
    tasks = []
    for path in paths:
        arguments = {**defaults, "images": [path]}
        tasks.append(Task(path, arguments, _digest(arguments, model)))
    Request.of(tasks[0].arguments)  # they differ in their picture only
    return tasks


def run_job(
    load: Callable[[], FastVLM],
    tasks: Sequence[Task],
    output: Path,
    *,
    batch_size: int,
    progress: Progress = unreported,
) -> JobReport:
    """Answer what has no line in `output` yet, a line each, in the order of finishing.

    Args:
        load: called only if there is something to answer.

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
        return JobReport(len(answers.done), answers.failed, found)


class AnswerFile:
    """The lines that are done; each is on the disk when `append` returns.

    Raises:
        JobError, WriteError: as `run_job`.
    """

    def __init__(self, path: Path, tasks: Iterable[Task]) -> None:
        self._path = path
        self._digests = {task.id: task.digest for task in tasks}
        self.done: set[str | int] = set()
        self.failed = 0
        self._file = _open_for_appending(path)
        try:
            _lock(self._file, path)
            self._read_back()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let another run have the file."""
        os.close(self._file)

    def append(self, task: Task, outcome: Outcome) -> None:
        """Write one line and wait until the disk has it."""
        line = json.dumps(_line(task, outcome), ensure_ascii=False) + "\n"
        try:
            # an id may hold half a character; JSON can say it with a backslash
            _write_all(self._file, line.encode("utf-8", "backslashreplace"))
            os.fsync(self._file)
        except OSError as error:
            raise _not_writable(self._path, error) from None
        self.done.add(task.id)
        self.failed += outcome.error is not None

    def _read_back(self) -> None:
        """Learn what is done, and cut off a line that was not finished."""
        with open(os.dup(self._file), "rb") as file:
            whole = 0
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    self._learn(number, line)
                    whole += len(line)
                elif not _is_beginning(line):
                    raise self._foreign(number, "it is no answer")
        if whole < os.fstat(self._file).st_size:
            os.ftruncate(self._file, whole)

    def _learn(self, number: int, line: bytes) -> None:
        found = _answered(line)
        if found is None:
            raise self._foreign(number, "it is no answer")
        id_, digest, failed = found
        if id_ not in self._digests:
            raise self._foreign(number, f"there is no request {id_!r}")
        if self._digests[id_] != digest:
            raise self._foreign(number, f"request {id_!r} is now another one")
        if id_ in self.done:
            raise self._foreign(number, f"request {id_!r} is answered twice")
        self.done.add(id_)
        self.failed += failed

    def _foreign(self, number: int, why: str) -> JobError:
        return JobError(
            f"{self._path} belongs to another job: line {number}: {why}. Use the same "
            "input, options and model as before, or write to a new file."
        )


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
) -> Task:
    id_ = given.pop("id", number)
    if isinstance(id_, bool) or not isinstance(id_, str | int):
        raise JobError(f"id is {id_!r}; expected a text or a whole number")
    arguments = {**defaults, **given}
    images = arguments.get("images")
    images = [images] if isinstance(images, str) else images or []
    if not isinstance(images, list) or not all(isinstance(i, str) for i in images):
        raise JobError(f"images is {images!r}; expected a path or a list of paths")
    arguments["images"] = images
    return Task(id_, arguments, _digest(arguments, model))


def _beside(path: Path, task: Task) -> Task:
    """The same task, its pictures' paths read from the folder of the job's file."""
    images = [
        str(path.parent / os.path.expanduser(i)) for i in task.arguments["images"]
    ]
    return Task(task.id, {**task.arguments, "images": images}, task.digest)


def _digest(arguments: Mapping[str, Any], model: str) -> str:
    text = json.dumps([model, arguments], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _complaint(path: Path, complaints: list[str]) -> str:
    more = len(complaints) - _MOST_COMPLAINTS
    shown = "; ".join(complaints[:_MOST_COMPLAINTS])
    return f"{path}: {shown}" + (f"; and {more} more lines." if more > 0 else ".")


def _matches(pattern: str) -> list[str]:
    path = Path(os.path.expanduser(pattern))
    if path.is_dir():
        names = sorted(each for each in path.iterdir() if _looks_like_picture(each))
        found = [str(each) for each in names]
    elif path.exists():
        found = [str(path)]
    else:
        names_found = sorted(glob.glob(str(path), recursive=True))
        found = [each for each in names_found if os.path.isfile(each)]
    if not found:
        raise JobError(f"{pattern} holds no picture; expected files, or a folder.")
    return found


def _looks_like_picture(path: Path) -> bool:
    hidden = path.name.startswith(".")  # such as what macOS leaves beside a file
    return path.suffix.lower() in PICTURE_SUFFIXES and path.is_file() and not hidden


def _open_for_appending(path: Path) -> int:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError as error:
        raise _not_writable(path, error) from None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise WriteError(f"{path} is not a plain file; answers need one.")
    return file


def _lock(file: int, path: Path) -> None:
    """Keep other runs out, where the file system can do that."""
    try:
        held = lock(file) is Lock.HELD
    except OSError as error:
        raise _not_writable(path, error) from None
    if held:
        raise JobError(f"{path} is being written by another run; wait for its end.")


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _not_writable(path: Path, error: OSError) -> WriteError:
    return WriteError(f"{path} cannot be written: {error.strerror or error}.")


def _line(task: Task, outcome: Outcome) -> dict[str, Any]:
    known = {"id": task.id, "request": task.digest}
    result = outcome.result
    if result is None:
        kind = type(outcome.error).__name__
        return {**known, "error": str(outcome.error), "error_type": kind}
    return {
        **known,
        "text": result.text,
        "finish_reason": result.finish_reason,
        "stop": result.stop,
        "prompt_tokens": result.prompt_tokens,
        "image_tokens": result.image_tokens,
        "images": [asdict(image) for image in result.images],
        "outside_training": result.outside_training,
        "tokens": len(result.token_ids),
    }


def _answered(line: bytes) -> tuple[str | int, str, bool] | None:
    """Whose answer a line is, its digest, and whether it is an error."""
    try:
        found = json.loads(line)
        id_, digest = found["id"], found["request"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    known = isinstance(id_, str | int) and not isinstance(id_, bool)
    return (id_, str(digest), "error" in found) if known else None


def _is_beginning(line: bytes) -> bool:
    length = min(len(line), len(_FIRST_BYTES))
    return line[:length] == _FIRST_BYTES[:length]
