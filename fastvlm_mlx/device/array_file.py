"""Files of arrays that are there whole or not at all, and are read only if whole.

The metadata carries a digest over everything else in the file, checked on reading: a
damaged file is found out before a number of it is used.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ..atomic_file import replacing
from .backend import mx

_DIGEST = "sha256"


class DamagedFileError(Exception):
    """A file that is not what was written; the message says in what way."""


def write_arrays(
    path: Path, arrays: Mapping[str, mx.array], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file, whole or not at all.

    Raises:
        OSError: as `replacing`.
    """
    stamped = {**metadata, _DIGEST: content_digest(arrays, metadata)}
    with replacing(path) as file:
        save_arrays(file, arrays, stamped)


def save_arrays(
    file: BinaryIO, arrays: Mapping[str, mx.array], metadata: Mapping[str, str]
) -> None:
    """Write safetensors into an open file.

    Through Python's file, whose errors say why (no space, quota); MLX's own do not.

    Raises:
        OSError: it cannot be written.
    """
    mx.save_safetensors(file, dict(arrays), dict(metadata))


def read_arrays(path: Path) -> tuple[dict[str, mx.array], dict[str, str]]:
    """Read a file that `write_arrays` made: arrays and metadata.

    Raises:
        OSError: there is none (FileNotFoundError), or it may not be read.
        DamagedFileError: it is another kind of file, cut off or changed.
    """
    if not path.is_file():
        raise FileNotFoundError(path)
    with open(path, "rb"):  # why a file cannot be opened, MLX does not say
        pass
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
