"""Answers to a JSONL file, a line each, so that a job may end at any moment.

Every answer is on the disk before the next one is written, and known by the request
that it answers. What is there is not asked again; a line that was cut off is. Nothing
is written to a file, or cut off it, that holds anything else.
"""

import contextlib
import errno
import json
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from .atomic_file import Lock, lock
from .errors import JobError, WriteError, quoted, shortened
from .request import Outcome

LONGEST_ERROR = 600
"""Characters of an error that a line of answers or a message repeats."""

_NOT_SYNCED = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What file systems say that cannot wait for their disk."""


@dataclass(frozen=True)
class JobLine:
    """A request of a job, which is to become a line of answers."""

    id: str | int
    arguments: Mapping[str, Any]  # of Request
    digest: str  # of what decides the answer


class AnswerFile:
    """The lines that are done; each is on the disk when `append` returns.

    Attributes:
        done: ids of the requests that have a line.
        failed: those of them whose line holds an error, in the order of the file.

    Raises:
        JobError: the file belongs to another job, or to a run that is going on.
        WriteError: it cannot be written.
    """

    def __init__(self, path: Path, lines: Iterable[JobLine]) -> None:
        self._path = path
        self._digests = {line.id: line.digest for line in lines}
        self.done: set[str | int] = set()
        self.failed: list[str | int] = []
        self._size = 0  # bytes of whole lines
        self._is_new = not os.path.lexists(path)
        self._file = _opened_and_locked(path)
        try:
            self._read_back()
        except BaseException as error:
            os.close(self._file)
            if isinstance(error, OSError):
                raise _not_writable(path, error) from None
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let another run have the file; without a line none is left behind."""
        with contextlib.suppress(OSError):
            # as the disk has it: a line may be there that nobody counted, at Ctrl-C
            if self._is_new and not os.fstat(self._file).st_size:
                os.unlink(self._path)
        os.close(self._file)

    def append(self, line: JobLine, outcome: Outcome) -> None:
        """Write one line and wait until the disk has it.

        Raises:
            WriteError: it cannot be written; nothing of it is left.
        """
        text = json.dumps(_answer(line, outcome), ensure_ascii=False) + "\n"
        # an id may hold half a character; JSON can say it with a backslash
        data = text.encode("utf-8", "backslashreplace")
        try:
            _write_all(self._file, data)
            _sync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise _not_writable(self._path, error) from None
        self._size += len(data)
        self.done.add(line.id)
        if outcome.error is not None:
            self.failed.append(line.id)

    def _read_back(self) -> None:
        """Learn what is done, and cut off a line that was not finished."""
        with open(os.dup(self._file), "rb") as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    self._learn(number, line)
                    self._size += len(line)
                elif not self._is_beginning(line):
                    raise self._foreign(number, "it is no answer")
        if self._size < os.fstat(self._file).st_size:
            os.ftruncate(self._file, self._size)

    def _learn(self, number: int, line: bytes) -> None:
        found = _answered(line)
        if found is None:
            raise self._foreign(number, "it is no answer")
        id_, digest, failed = found
        if id_ not in self._digests:
            raise self._foreign(number, f"there is no request {quoted(id_)}")
        if self._digests[id_] != digest:
            raise self._foreign(number, f"request {quoted(id_)} is now another one")
        if id_ in self.done:
            raise self._foreign(number, f"request {quoted(id_)} is answered twice")
        self.done.add(id_)
        if failed:
            self.failed.append(id_)

    def _is_beginning(self, line: bytes) -> bool:
        """Whether a line without an end is as much of one of ours as was written."""
        for id_, digest in self._digests.items():
            stamp = json.dumps({"id": id_, "request": digest}, ensure_ascii=False)
            begun = stamp.encode("utf-8", "backslashreplace").removesuffix(b"}")
            if line.startswith(begun) or begun.startswith(line):
                return True
        return False

    def _foreign(self, number: int, why: str) -> JobError:
        return JobError(
            f"{self._path} belongs to another job: line {number}: {why}. Use the same "
            "input, options and model as before, or write to a new file."
        )


def _open_for_appending(path: Path) -> int:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError as error:
        raise _not_writable(path, error) from None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise WriteError(f"{path} is not a plain file; answers need one.")
    return file


def _opened_and_locked(path: Path) -> int:
    """The file, with other runs kept out, where the file system can do that."""
    while True:
        file = _open_for_appending(path)
        try:
            if lock(file) is Lock.HELD:
                raise JobError(
                    f"{path} is being written by another run; wait for its end."
                )
            if os.fstat(file).st_nlink:
                return file
        except BaseException as error:
            os.close(file)
            if isinstance(error, OSError):
                raise _not_writable(path, error) from None
            raise
        os.close(file)  # another run removed it between the two, as it had no line


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _sync(file: int) -> None:
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in _NOT_SYNCED:
            raise


def _not_writable(path: Path, error: OSError) -> WriteError:
    return WriteError(f"{path} cannot be written: {error.strerror or error}.")


def _answer(line: JobLine, outcome: Outcome) -> dict[str, Any]:
    known = {"id": line.id, "request": line.digest}
    result = outcome.result
    if result is None:
        why = shortened(str(outcome.error), LONGEST_ERROR)
        return {**known, "error": why, "error_type": type(outcome.error).__name__}
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
