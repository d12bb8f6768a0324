"""Rows of a data set on disk: JSONL, parquet, or a folder of Hugging Face `datasets`.

A table tells its columns and gives its rows in order, only those and only the columns
that are asked for, so that images of rows already answered are never read.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..errors import JobError

Numbered = tuple[int, dict[str, Any]]
"""A row's place in its table, from 0, and the row."""


class Table(Protocol):
    """Rows by their place."""

    name: str  # for errors
    columns: Sequence[str]
    split: str  # as its files are called

    def __len__(self) -> int:
        """How many rows there are."""

    def rows(
        self, columns: Collection[str], places: Collection[int] | None = None
    ) -> Iterator[Numbered]:
        """Rows in order, all or those at some places, with some of their columns."""

    def folder_of(self, place: int) -> Path:
        """What the paths in a row are relative to."""

    def digest(self) -> str:
        """SHA-256 of what is in it; other data is another job."""


@dataclass
class ListedRows:
    """Rows in memory."""

    name: str
    listed: Sequence[Mapping[str, Any]]
    folder: Path
    split: str = ""
    columns: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        self.columns = list(dict.fromkeys(key for row in self.listed for key in row))

    def __len__(self) -> int:
        return len(self.listed)

    def rows(
        self, columns: Collection[str], places: Collection[int] | None = None
    ) -> Iterator[Numbered]:
        """See Table; a row lacks the columns that its line did not have."""
        for place, row in enumerate(self.listed):
            if places is None or place in places:
                yield place, {key: row[key] for key in columns if key in row}

    def folder_of(self, place: int) -> Path:
        """See Table."""
        return self.folder

    def digest(self) -> str:
        """See Table."""
        text = json.dumps(self.listed, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def read_jsonl(path: Path, split: str) -> ListedRows:
    """One JSON object per line; blank lines are skipped.

    Raises:
        JobError: it cannot be read, or a line is no JSON object.
    """
    rows = []
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise JobError(f"{path} cannot be read: {error.strerror or error}.") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            rows.append(_object(line, f"{path}, line {number}"))
    return ListedRows(str(path), rows, path.parent, split)


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise JobError(f"{where}: it is not JSON: {error}.") from None
    if not isinstance(found, dict):
        raise JobError(
            f"{where}: it is a JSON {type(found).__name__}; expected an object such as "
            '{"image": "a.jpg", "question": "…", "answer": "…"}.'
        )
    return found
