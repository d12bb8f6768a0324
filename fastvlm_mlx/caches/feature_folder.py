"""Encoded images on disk, so that an app that starts again has them.

One safetensors file per image, named by the image's digest and the model's identity
together, and marked in its metadata. A file that is damaged or of another image is as
good as none: a line is logged, the image is encoded, the file is written anew.

The folder may hold other things, and several processes may use it at a time. Only
files that have both such a name and the mark are counted or removed.
"""

import hashlib
import json
import logging
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..atomic_file import is_abandoned, is_temporary
from ..device.array_file import DamagedFileError, read_arrays, write_arrays
from ..device.backend import mx

_log = logging.getLogger(__name__)

_ARRAY = "image_embeds"

_MARK = ("made_by", "fastvlm-mlx feature cache")
"""A key and value in the metadata of every file that is written here."""

_NAME = re.compile(r"[0-9a-f]{64}\.safetensors")

MAX_FOLDER_BYTES = 1 << 30
"""Where a folder's size ends: two thousand images of the 0.5B model at 1024²."""

_LONGEST_HEADER = 4096
"""Bytes of JSON before the numbers; ours take about 400."""

_OLD = 3600
"""Seconds after which a killed process's temporary file is removed."""


class FeatureFolder:
    """Image embeddings (N, D) by digest, in files."""

    def __init__(
        self,
        path: Path,
        identity: Callable[[], str],
        max_bytes: int = MAX_FOLDER_BYTES,
    ) -> None:
        self._path = path
        self._identity = identity  # of the model; slow, so asked for when needed
        self._max_bytes = max_bytes
        self._ours: dict[tuple[str, int, int], bool] = {}  # name, bytes, time: a mark
        self._failed: set[str] = set()

    def read(self, digest: str) -> mx.array | None:
        """What an image was encoded to by this very model, if it is here."""
        path = self._file(digest)
        try:
            arrays, metadata = read_arrays(path)
            if metadata != self._metadata(digest) or arrays.keys() != {_ARRAY}:
                raise DamagedFileError("it belongs to another image or model")
        except FileNotFoundError:
            return None
        except (DamagedFileError, OSError) as error:
            _log.warning("%s is ignored: %s.", path, error)
            return None
        try:
            os.utime(path)  # it was used now
        except OSError as error:  # a folder that others fill and we may only read
            self._warn(error)
        return arrays[_ARRAY]

    def write(self, digest: str, image_embeds: mx.array) -> None:
        """Keep what an image was encoded to; a disk that refuses is only logged."""
        path = self._file(digest)
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            write_arrays(path, {_ARRAY: image_embeds}, self._metadata(digest))
            self._evict()
        except OSError as error:
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        """One line for each cause, not one for each image."""
        cause = error.strerror or str(error)
        level = logging.DEBUG if cause in self._failed else logging.WARNING
        self._failed.add(cause)
        _log.log(level, "Images are not kept in %s: %s.", self._path, cause)

    def _metadata(self, digest: str) -> dict[str, str]:
        key, value = _MARK
        return {key: value, "image": digest, "model": self._identity()}

    def _file(self, digest: str) -> Path:
        name = hashlib.sha256(f"{digest} {self._identity()}".encode()).hexdigest()
        return self._path / f"{name}.safetensors"

    def _evict(self) -> None:
        """Remove the files used longest ago while there are too many bytes."""
        files = sorted(self._files(), key=lambda each: each[1].st_mtime_ns)
        total = sum(status.st_size for _, status in files)
        for file, status in files:
            if total <= self._max_bytes:
                return
            file.unlink(missing_ok=True)
            total -= status.st_size

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        """What this cache made, in whatever process; old leftovers are removed."""
        for entry in os.scandir(self._path):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # another process removed it
                continue
            path = Path(entry.path)
            if not stat.S_ISREG(status.st_mode):
                continue
            if _NAME.fullmatch(entry.name) and self._is_ours(path, status):
                yield path, status
            elif _is_leftover(path, status):
                path.unlink(missing_ok=True)

    def _is_ours(self, path: Path, status: os.stat_result) -> bool:
        version = (path.name, status.st_size, status.st_mtime_ns)
        if version not in self._ours:
            self._ours[version] = _has_mark(path)
        return self._ours[version]


def _has_mark(path: Path) -> bool:
    """Whether the header of a safetensors file says that it was written here."""
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(size, _LONGEST_HEADER)))
        key, value = _MARK
        return bool(header["__metadata__"][key] == value)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _is_leftover(path: Path, status: os.stat_result) -> bool:
    """Whether a killed process left it, an hour ago at least, half written."""
    return (
        time.time() - status.st_mtime > _OLD
        and is_temporary(path.name)
        and bool(_NAME.match(path.name, 1))
        and is_abandoned(path)
    )
