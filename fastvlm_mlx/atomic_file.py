"""A file of arrays that is there whole or not at all, and is read only if whole.

Written beside its place under a hidden name, flushed, renamed. The metadata carries a
digest over everything else in the file, checked on reading: a damaged file is found
out before a number of it is used.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .device.backend import mx

_DIGEST = "sha256"


class DamagedFileError(Exception):
    """A file that is not what was written; the message says in what way."""


def write_arrays(
    path: Path, arrays: Mapping[str, mx.array], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file.

    Raises:
        OSError: the folder cannot be written.
    """
    stamped = {**metadata, _DIGEST: content_digest(arrays, metadata)}
    handle, name = tempfile.mkstemp(".safetensors", f".{path.name}.", path.parent)
    os.close(handle)
    try:
        try:
            mx.save_safetensors(name, dict(arrays), stamped)
        except RuntimeError as error:  # MLX's own, when the disk is full
            raise OSError(str(error)) from None
        with open(name, "rb") as file:
            os.fsync(file.fileno())
        os.replace(name, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def read_arrays(path: Path) -> tuple[dict[str, mx.array], dict[str, str]]:
    """Read a file that `write_arrays` made: arrays and metadata.

    Raises:
        FileNotFoundError: there is none.
        DamagedFileError: it is another kind of file, cut off or changed.
    """
    if not path.is_file():
        raise FileNotFoundError(path)
    try:
        loaded: Any = mx.load(str(path), format="safetensors", return_metadata=True)
        arrays, metadata = loaded
        mx.eval(arrays)
    except Exception as error:  # MLX raises nearly anything on damaged headers
        raise DamagedFileError(f"not a whole safetensors file ({error})") from None
    expected = metadata.pop(_DIGEST, None)
    if expected != content_digest(arrays, metadata):
        raise DamagedFileError("its contents do not have the digest written with them")
    return arrays, metadata


def content_digest(
    arrays: Mapping[str, mx.array], metadata: Mapping[str, str] | None = None
) -> str:
    """SHA-256 over names, types, shapes and values of arrays, and over metadata."""
    digest = hashlib.sha256(json.dumps(dict(metadata or {}), sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(_bytes_of(array))
    return digest.hexdigest()


def _bytes_of(array: mx.array) -> memoryview:
    flat: Any = mx.contiguous(array).reshape(-1).view(mx.uint8)
    return memoryview(flat)
