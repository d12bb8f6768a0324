"""Parquet and Arrow files as one table. The only file that knows pyarrow."""

import contextlib
import functools
import hashlib
import importlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import LONGEST_QUOTE, JobError, shortened
from .table import Numbered

_ROWS_AT_ONCE = 32
"""Rows in memory, with their images."""


class ArrowFiles:
    """Files of one form, in the order given, as one table.

    Raises:
        JobError: pyarrow is not installed, or a file is not what its name says.
    """

    def __init__(self, paths: Sequence[Path], split: str) -> None:
        is_parquet = paths[0].suffix.lower() == ".parquet"
        opener = _ParquetFile if is_parquet else _ArrowFile
        self._paths = paths
        self._files = [_open(path, opener) for path in paths]
        self.split = split
        self.name = str(paths[0]) if len(paths) == 1 else str(paths[0].parent)
        self.columns = self._files[0].columns
        for path, file in zip(paths, self._files, strict=True):
            if set(file.columns) != set(self.columns):
                raise JobError(
                    f"{path} has columns {_named(file.columns)}; expected those of "
                    f"{paths[0]}: {_named(self.columns)}. Give one data set."
                )

    def __len__(self) -> int:
        return sum(file.length for file in self._files)

    def rows(
        self, columns: Collection[str], places: Collection[int] | None = None
    ) -> Iterator[Numbered]:
        """See Table."""
        chosen, start = [c for c in self.columns if c in columns], 0
        for path, file in zip(self._paths, self._files, strict=True):
            with _damage_told(path):
                for length, read in file.pieces(chosen):
                    wanted = [
                        place
                        for place in range(start, start + length)
                        if places is None or place in places
                    ]
                    if wanted:
                        yield from _picked(read(), start, frozenset(wanted))
                    start += length

    def folder_of(self, place: int) -> Path:
        """See Table."""
        for path, file in zip(self._paths, self._files, strict=True):
            if place < file.length:
                return path.parent
            place -= file.length
        raise IndexError(place)

    def digest(self) -> str:
        """See Table: of the files' bytes, a second per gigabyte."""
        return self._digest

    @functools.cached_property
    def _digest(self) -> str:
        whole = hashlib.sha256()
        for path in self._paths:
            with _damage_told(path), path.open("rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
        return whole.hexdigest()


Read = Callable[[], Iterator[Any]]
"""Gives the record batches of a piece."""


class _ParquetFile:
    def __init__(self, path: Path) -> None:
        self._file = _pyarrow("parquet").ParquetFile(path)
        self.columns: list[str] = list(self._file.schema_arrow.names)
        self.length: int = self._file.metadata.num_rows

    def pieces(self, columns: list[str]) -> Iterator[tuple[int, Read]]:
        """Its row groups: how long each is, and how to read it."""
        for group in range(self._file.num_row_groups):
            read = partial(
                self._file.iter_batches,
                _ROWS_AT_ONCE,
                row_groups=[group],
                columns=columns,
            )
            yield self._file.metadata.row_group(group).num_rows, read


class _ArrowFile:
    """What `Dataset.save_to_disk` and the cache of `datasets` leave behind."""

    def __init__(self, path: Path) -> None:
        pyarrow, ipc = _pyarrow(), _pyarrow("ipc")
        source = pyarrow.memory_map(str(path))
        is_file = bytes(source.read(6)) == b"ARROW1"
        source.seek(0)
        reader = ipc.open_file(source) if is_file else ipc.open_stream(source)
        self._table = reader.read_all()  # a view of the mapped file
        self.columns: list[str] = list(self._table.column_names)
        self.length: int = self._table.num_rows

    def pieces(self, columns: list[str]) -> Iterator[tuple[int, Read]]:
        """Its record batches, cut small."""
        table = self._table.select(columns)
        for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
            yield batch.num_rows, partial(iter, [batch])


def _picked(
    batches: Iterator[Any], start: int, places: frozenset[int]
) -> Iterator[Numbered]:
    for batch in batches:
        for offset in range(batch.num_rows):
            if start + offset in places:
                yield start + offset, batch.slice(offset, 1).to_pylist()[0]
        start += batch.num_rows


def _open(path: Path, opener: Callable[[Path], Any]) -> Any:
    with _damage_told(path):
        return opener(path)


@contextlib.contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """What pyarrow says of a file, as ours: its errors are among these.

    Those of the file system have a number and say nothing of damage.
    """
    try:
        yield
    except (OSError, ValueError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno:
            why = os.strerror(error.errno)
            raise JobError(f"{path} cannot be read: {why}.") from None
        what = shortened(str(error).strip().split("\n")[0].rstrip("."))
        raise JobError(f"{path} cannot be read: {what}. Download it anew.") from None


def _named(columns: Sequence[str]) -> str:
    return shortened(", ".join(columns), 3 * LONGEST_QUOTE)


def _pyarrow(part: str | None = None) -> Any:
    try:
        return importlib.import_module(f"pyarrow.{part}" if part else "pyarrow")
    except ImportError:
        raise JobError(
            "Parquet and Arrow files need pyarrow, which is not installed; "
            "pip install 'fastvlm-mlx[evaluate]', or give a .jsonl file."
        ) from None
