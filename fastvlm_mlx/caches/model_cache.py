"""Converted copies of models: found again by what they were made of.

A copy's folder is named after its source, with a digest over the contents of all that
a conversion reads of it. So a model is converted again when one of those files says
something else, and not when a file was only touched or moved, or another was added.
`sources.json` notes the digests of files by their status (size, times, inode), so that
they are read through once and not at every start.
"""

import contextlib
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..atomic_file import is_temporary, write_text
from ..config import FORMAT_VERSION, STAMP, FastVLMConfig
from ..errors import CheckpointError, FastVLMError, WriteError
from ..model_folder import (
    CARD_FILE,
    CONFIG_FILE,
    INDEX_FILE,
    OPEN_CLIP_FILE,
    SOURCE_FILES,
    WEIGHTS_FILE,
    license_named,
    read_json,
    read_weight_map,
)
from ..paths import KERNELS, cache_folder

NOTES = "sources.json"

LARGE = 1 << 20
"""Bytes from which a file is not read only to say whether it has changed."""

_COPY = re.compile(r"(.+)-([0-9a-f]{16})")
_BLOB = re.compile(r"[0-9a-f]{64}")  # how the hub's cache calls a file: by its SHA-256


@dataclass(frozen=True)
class ModelCopy:
    """A converted copy in the cache."""

    path: Path
    config: FastVLMConfig
    stored_bytes: int
    last_used: float  # seconds since 1970
    source: Path | None  # the folder that it was made of; None: not noted

    @property
    def name(self) -> str:
        """What it is called in the cache."""
        return self.path.name


@dataclass(frozen=True)
class CacheContents:
    """What lies in the cache folder."""

    copies: tuple[ModelCopy, ...]  # those used last first
    unfinished: tuple[Path, ...]  # left by conversions that were killed, or under way
    others: tuple[Path, ...]  # not made here
    kernels: int  # bytes of kernels that MLX compiled


class ModelCache:
    """The cache folder, and what is noted of sources: read once, when this is made."""

    def __init__(self) -> None:
        self.folder = cache_folder()
        noted = _read_notes(self.folder / NOTES)
        self._digests: dict[str, Any] = _part(noted, "files", list)
        self._sources: dict[str, Any] = _part(noted, "copies", str)
        self._is_changed = False

    def place_of(self, source: Path, name: str) -> Path:
        """The folder of the copy of a source, made already or not.

        Args:
            source: a checkpoint's folder.
            name: what the copy calls it.

        Raises:
            CheckpointError: a file of the source may not be read.
        """
        safe_name = re.sub(r"[^\w.-]+", "--", name).strip("-") or "model"
        return self.folder / f"{safe_name}-{self._fingerprint(source)}"

    def note_use(self, copy: Path, source: Path) -> None:
        """Note that a copy was used now, and what it was made of."""
        with contextlib.suppress(OSError):  # a cache that may be read and not written
            os.utime(copy)
        path = str(source.resolve())
        if self._is_changed or self._sources.get(copy.name) != path:
            self._sources[copy.name] = path
            self._write_notes()

    def contents(self) -> CacheContents:
        """Look through the cache; nothing large is read.

        Raises:
            CheckpointError: it may not be read.
        """
        copies, unfinished, others = [], [], []
        for path in _entries(self.folder):
            if copy := _copy(path, self._sources.get(path.name)):
                copies.append(copy)
            elif is_temporary(path.name) or is_temporary(path.name, "old"):
                unfinished.append(path)
            elif path.name not in (NOTES, KERNELS):
                others.append(path)
        copies.sort(key=lambda copy: copy.last_used, reverse=True)
        kernels = self.folder / KERNELS
        return CacheContents(
            tuple(copies),
            tuple(unfinished),
            tuple(others),
            size_of(kernels) if kernels.is_dir() else 0,
        )

    def is_current(self, copy: ModelCopy) -> bool | None:
        """Whether a copy's source would lead to it again; None: it is not noted.

        A large file whose status has changed is not read, and counts as changed.
        """
        if copy.source is None:
            return None
        if not copy.source.is_dir():
            return False
        try:
            return copy.name.endswith(self._fingerprint(copy.source, only_noted=True))
        except (FastVLMError, OSError):
            return False

    def _fingerprint(self, source: Path, only_noted: bool = False) -> str:
        """A digest over what a conversion reads, and the format that it writes."""
        digest = hashlib.sha256(f"{FORMAT_VERSION}\n".encode())
        for file in _files_read(source):
            try:
                content = self._content_digest(file.resolve(), only_noted)
            except OSError as error:
                raise CheckpointError(
                    f"{file} cannot be read: {error.strerror or error}."
                ) from None
            digest.update(f"{file.name} {content}\n".encode())
        card = source / CARD_FILE
        text = card.read_text("utf-8", errors="replace") if card.is_file() else ""
        digest.update(license_named(text).encode())
        return digest.hexdigest()[:16]

    def _content_digest(self, file: Path, only_noted: bool) -> str:
        """SHA-256 of a file: as noted, while its status is the same."""
        if file.parent.name == "blobs" and _BLOB.fullmatch(file.name):
            return file.name
        found = file.stat()
        status = [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
        known = self._digests.get(str(file))
        if known and known[1:] == status:
            return str(known[0])
        if only_noted and found.st_size >= LARGE:
            raise CheckpointError(f"{file} has changed.")
        digest = _sha256(file)
        self._digests[str(file)] = [digest, *status]
        self._is_changed = True
        return digest

    def _write_notes(self) -> None:
        """Keep notes of what is still there; a cache that refuses costs time only."""
        files = {
            path: each for path, each in self._digests.items() if os.path.exists(path)
        }
        copies = {
            name: each
            for name, each in self._sources.items()
            if (self.folder / name).exists()
        }
        text = json.dumps({"files": files, "copies": copies}, indent=1) + "\n"
        with contextlib.suppress(WriteError, OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self.folder / NOTES, text)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links are not followed."""
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    files = (Path(at) / name for at, _, names in os.walk(path) for name in names)
    return sum(file.lstat().st_size for file in files)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckpointError(
            f"{folder} cannot be read: {error.strerror or error}."
        ) from None


def _copy(path: Path, source: Any) -> ModelCopy | None:
    """A folder as a copy, if it has a copy's name and our stamp."""
    if not _COPY.fullmatch(path.name) or path.is_symlink():
        return None
    if not (path / CONFIG_FILE).is_file():
        return None
    try:
        values = read_json(path / CONFIG_FILE)
        if STAMP not in values:
            return None
        config = FastVLMConfig.from_dict(values)
    except FastVLMError:
        return None
    made_of = Path(source) if isinstance(source, str) else None
    return ModelCopy(path, config, size_of(path), path.stat().st_mtime, made_of)


def _files_read(source: Path) -> list[Path]:
    """What a conversion reads of a folder, the model card left out."""
    named = [file for pattern in SOURCE_FILES for file in source.glob(pattern)]
    if (source / INDEX_FILE).is_file():
        weights = [source / Path(name).name for name in _shards(source)]
    else:
        single = (source / WEIGHTS_FILE, source / OPEN_CLIP_FILE)
        weights = [file for file in single if file.is_file()][:1]
    return sorted({file for file in (*named, *weights) if file.is_file()})


def _shards(source: Path) -> set[str]:
    try:
        return set(read_weight_map(source).values())
    except FastVLMError:  # the conversion says what is wrong with it
        return set()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_notes(path: Path) -> Any:
    """What is noted; nothing where that is damaged: all of it can be found out."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _part(noted: Any, part: str, kind: type) -> dict[str, Any]:
    values = noted.get(part) if isinstance(noted, dict) else None
    if not isinstance(values, dict):
        return {}
    return {key: each for key, each in values.items() if isinstance(each, kind)}
