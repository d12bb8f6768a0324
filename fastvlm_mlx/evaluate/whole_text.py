"""A text file that is there whole or as it was before."""

import contextlib
import os
import tempfile
from pathlib import Path

from ..errors import WriteError


def write_whole(path: Path, text: str) -> None:
    """Write beside its place, then put it there.

    Raises:
        WriteError: the folder cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(".part", f".{path.name}.", path.parent)
        try:
            # half a character, which a model may write, is told with a backslash
            with open(handle, "wb") as file:
                file.write(text.encode("utf-8", "backslashreplace"))
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
    except OSError as error:
        raise WriteError(
            f"{path} cannot be written: {error.strerror or error}."
        ) from None
