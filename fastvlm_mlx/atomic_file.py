"""A file that is there whole or not at all.

Written next to its place under a hidden name, flushed, renamed.

Locks are flock(2): the kernel releases them when a process dies, however it dies.
"""

import contextlib
import enum
import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import WriteError

PART = "part"
_LONGEST_NAME = 200  # bytes of a name that a temporary one repeats; 255 are allowed

_HELD_BY_ANOTHER = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
_NO_LOCKS_HERE = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS)


class Lock(enum.Enum):
    """What came of asking for a lock."""

    OURS = enum.auto()
    HELD = enum.auto()  # by another process
    UNSUPPORTED = enum.auto()  # by the file system, as on some network drives


def lock(file: int) -> Lock:
    """Lock an open file or folder for as long as it stays open in this process.

    Raises:
        OSError: the lock failed for a reason that says nothing of other processes.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD_BY_ANOTHER:
            return Lock.HELD
        if error.errno in _NO_LOCKS_HERE:
            return Lock.UNSUPPORTED
        raise
    return Lock.OURS


def temporary_path(path: Path, kind: str = PART) -> Path:
    """A new hidden name in the folder of a path, for what will take its place."""
    return path.parent / f".{_shown(path)}.{secrets.token_hex(8)}.fastvlm-{kind}"


def is_temporary(name: str, kind: str = PART) -> bool:
    """Whether a file's name is one that `temporary_path` gives, for whatever path."""
    return bool(re.fullmatch(rf"\..*\.[0-9a-f]{{16}}\.fastvlm-{kind}", name, re.DOTALL))


def temporaries(path: Path, kind: str = PART) -> list[Path]:
    """What is there under names that `temporary_path` gave for this path."""
    pattern = rf"\.{re.escape(_shown(path))}\.[0-9a-f]{{16}}\.fastvlm-{kind}"
    try:
        names = sorted(os.listdir(path.parent))
    except OSError:  # nothing there yet, or a folder that may be written but not listed
        return []
    return [path.parent / name for name in names if re.fullmatch(pattern, name)]


def is_abandoned(path: Path) -> bool:
    """Whether the process that wrote a temporary file or folder has ended.

    Without locks that cannot be known, and nothing is called abandoned.
    """
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:  # gone meanwhile, or not to be read by us
        return False
    try:
        return lock(file) is Lock.OURS
    except OSError:
        return False
    finally:
        os.close(file)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write to, which takes the place of `path` when the block succeeds.

    Until then `path` is as it was; when the block fails, nothing is left. What killed
    processes left for the same path is removed. A link stays a link. A new file has
    the permissions that the umask leaves, a replaced one keeps those that it had.

    Raises:
        OSError: the folder cannot be written, or `path` is no plain file.
    """
    target = Path(os.path.realpath(path))
    mode = _mode(target)
    for left in temporaries(target):
        if is_abandoned(left):
            left.unlink(missing_ok=True)
    temporary, file = _create(target)
    try:
        with file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    sync_folder(target.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all.

    Half a character, which a model may write, becomes an escape with a backslash.

    Raises:
        WriteError: it cannot be written; the message says why.
    """
    try:
        with replacing(path) as file:
            file.write(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise WriteError(
            f"{path} cannot be written: {error.strerror or error}."
        ) from None


def sync_folder(folder: Path) -> None:
    """Have the disk keep what was renamed in a folder, where its system can say so."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _mode(target: Path) -> int | None:
    """The permissions of the file that is there; None: there is none."""
    try:
        status = os.stat(target)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        kind = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
        raise OSError(kind, "not a plain file", str(target))
    return stat.S_IMODE(status.st_mode)


def _create(target: Path) -> tuple[Path, BinaryIO]:
    """A new temporary file, locked, so that nobody takes it for abandoned."""
    while True:
        temporary = temporary_path(target)
        file = open(temporary, "xb")  # with 0666 less the umask
        lock(file.fileno())
        if temporary.exists():  # else it was swept before it was locked
            return temporary, file
        file.close()


def _shown(path: Path) -> str:
    """As much of a name as leaves room for the rest, in whole characters."""
    return os.fsencode(path.name)[:_LONGEST_NAME].decode("utf-8", "ignore")
