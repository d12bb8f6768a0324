"""Which files of a path are the table that a task means.

A path is a file, or a folder: a snapshot of a data set from the hub (parquet files by
configuration and split), what `save_to_disk` left, or the cache of `datasets`.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import JobError
from .arrow_files import ArrowFiles
from .table import Table, read_jsonl
from .task import Task

_JSONL, _ARROW = (".jsonl", ".ndjson"), (".parquet", ".arrow")
_SHARD = re.compile(r"-\d{5}-of-\d{5}(-[0-9a-f]+)?$")


def open_table(path: Path, task: Task, split: str | None = None) -> Table:
    """The rows of a task.

    Args:
        split: "test" for example; None is the split that is usually reported.

    Raises:
        JobError: there is nothing to read, or it is not clear which files.
    """
    if path.is_dir():
        return _table(_files_of(path, task.folder, split or task.split))
    if not path.exists():
        raise JobError(f"{path} does not exist; expected a file or folder of data.")
    return _table([path])


def open_pictures(path: Path, task: Task) -> Table | None:
    """The table of pictures beside the questions, where a data set keeps them apart."""
    home = path if path.is_dir() else path.parent.parent
    folder = home / str(task.pictures_folder)
    found = sorted(folder.rglob("*.parquet")) or sorted(folder.rglob("*.arrow"))
    return _table(found) if found else None


def _table(paths: list[Path]) -> Table:
    suffix = paths[0].suffix.lower()
    if suffix in _JSONL:
        return read_jsonl(paths[0])
    if suffix in _ARROW:
        return ArrowFiles(paths)
    raise JobError(
        f"{paths[0]} is of no known form; expected a .jsonl, .parquet or .arrow file, "
        "or a folder of them."
    )


def _files_of(folder: Path, configuration: str | None, split: str) -> list[Path]:
    if (folder / "dataset_dict.json").is_file():
        return _saved(_split_of_saved(folder, split))
    if (folder / "state.json").is_file():
        return _saved(folder)
    files = [p for p in sorted(folder.rglob("*")) if p.suffix in _ARROW + _JSONL]
    inside = [p for p in files if configuration in p.relative_to(folder).parts[:-1]]
    files = inside or files
    chosen = [p for p in files if _split_named(p) == split]
    if chosen:
        return _one_form(folder, chosen)
    splits = sorted({_split_named(p) for p in files})
    if len(splits) == 1:  # a file or a set of shards by another name
        return _one_form(folder, files)
    found = ", ".join(splits) or "no .parquet, .arrow or .jsonl files"
    raise JobError(
        f"{folder} has {found}; expected a split {split}. Choose one with --split."
    )


def _split_named(path: Path) -> str:
    """ "test-00000-of-00003.parquet" and "mmmu-test.arrow" belong to "test"."""
    return _SHARD.sub("", path.stem).split("-")[-1]


def _one_form(folder: Path, paths: list[Path]) -> list[Path]:
    """All of one form; lines of JSON are one file."""
    suffixes = {path.suffix for path in paths}
    if len(suffixes) > 1 or (suffixes <= set(_JSONL) and len(paths) > 1):
        raise JobError(
            f"{folder} has {', '.join(path.name for path in paths[:5])}; expected "
            "files of one form. Give the one that is meant."
        )
    return paths


def _split_of_saved(folder: Path, split: str) -> Path:
    splits = _read(folder / "dataset_dict.json").get("splits", [])
    if split not in splits:
        raise JobError(
            f"{folder} has the splits {', '.join(splits)}; expected {split}. "
            "Choose one with --split."
        )
    return folder / split


def _saved(folder: Path) -> list[Path]:
    """What `Dataset.save_to_disk` wrote."""
    state = _read(folder / "state.json")
    if state.get("_indices_files"):
        raise JobError(
            f"{folder} holds a selection of other rows; call flatten_indices() on the "
            "data set before save_to_disk()."
        )
    return [folder / name for name in _names(state.get("_data_files", []), folder)]


def _names(files: Iterable[dict[str, str]], folder: Path) -> list[str]:
    names = [file["filename"] for file in files]
    if not names:
        raise JobError(f"{folder}/state.json names no files; save the data set anew.")
    return names


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise JobError(f"{path} cannot be read: {error}.") from None
    return found
