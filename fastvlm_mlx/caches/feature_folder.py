"""Encoded pictures on disk, so that an app that starts again has them.

One safetensors file per picture, named by the picture's digest and the model's
identity together. A file that is damaged or of another picture is as good as none: a
line is logged, the picture is encoded, the file is written anew.
"""

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from ..atomic_file import DamagedFileError, read_arrays, write_arrays
from ..device.backend import mx

_log = logging.getLogger(__name__)

_ARRAY = "image_embeds"

MAX_FOLDER_BYTES = 1 << 30
"""Where a folder's size ends: two thousand pictures of the 0.5B model at 1024²."""


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

    def read(self, digest: str) -> mx.array | None:
        """What a picture was encoded to by this very model, if it is here."""
        path = self._file(digest)
        try:
            arrays, metadata = read_arrays(path)
            if metadata != self._metadata(digest) or arrays.keys() != {_ARRAY}:
                raise DamagedFileError("it belongs to another picture or model")
            os.utime(path)  # it was used now
        except FileNotFoundError:
            return None
        except (DamagedFileError, OSError) as error:
            _log.warning("%s is ignored: %s.", path, error)
            return None
        return arrays[_ARRAY]

    def write(self, digest: str, image_embeds: mx.array) -> None:
        """Keep what a picture was encoded to; a disk that refuses is only logged."""
        path = self._file(digest)
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            write_arrays(path, {_ARRAY: image_embeds}, self._metadata(digest))
            self._evict()
        except OSError as error:
            _log.warning("%s cannot be written: %s.", path, error)

    def _metadata(self, digest: str) -> dict[str, str]:
        return {"picture": digest, "model": self._identity()}

    def _file(self, digest: str) -> Path:
        name = hashlib.sha256(f"{digest} {self._identity()}".encode()).hexdigest()
        return self._path / f"{name}.safetensors"

    def _evict(self) -> None:
        """Remove the files used longest ago while there are too many bytes."""
        files = [(file, file.stat()) for file in self._path.glob("*.safetensors")]
        files.sort(key=lambda each: each[1].st_mtime_ns)
        total = sum(status.st_size for _, status in files)
        for file, status in files:
            if total <= self._max_bytes:
                return
            file.unlink(missing_ok=True)
            total -= status.st_size
