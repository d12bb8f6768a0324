"""Which files of a path are the table that a task means.

A path is a file, or a folder: a snapshot of a data set from the hub (parquet files by
configuration and split), what `save_to_disk` left, or the cache of `datasets`.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import LONGEST_QUOTE, JobError, quoted, shortened
from .arrow_files import ArrowFiles
from .table import Table, read_jsonl
from .task import Task

_JSONL, _ARROW = (".jsonl", ".ndjson"), (".parquet", ".arrow")
_SHARD = re.compile(r"-\d{5}-of-(\d{5})(-[0-9a-f]+)?$")
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class _Chosen:
    """The files of one table, and the split that they are."""

    paths: list[Path]
    split: str


def open_table(path: Path, task: Task, split: str | None = None) -> Table:
    """The rows of a task.

    Args:
        split: "test" for example; None is the split that is usually reported. Of a
            single file it says what the file is; None takes its name.

    Raises:
        JobError: there is nothing to read, or it is not clear which files.
    """
    with _reading(path):
        if path.is_dir():
            chosen = _chosen_of(_snapshot(path), task.folder, split or task.split)
            return _table(chosen)
        if not path.exists():
            raise JobError(
                f"{shortened(path)} does not exist; expected a file or folder of data."
            )
        return _table(_Chosen([path], split or _split_named(path)))


def open_images(path: Path, task: Task) -> Table | None:
    """The table of images that a data set keeps apart from its questions.

    Raises:
        JobError: as `open_table`.
    """
    with _reading(path):
        home = _snapshot(path) if path.is_dir() else path.parent.parent
        folder = home / str(task.images_folder)
        found = [p for p in _data_files(folder) if p.suffix.lower() in _ARROW]
        return _table(_one_table(folder, _Chosen(found, task.split))) if found else None


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What a file system says of a path, by its cause."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        why = getattr(error, "strerror", None) or error
        name = getattr(error, "filename", None) or path
        raise JobError(f"{shortened(name)} cannot be read: {why}.") from None


def _table(chosen: _Chosen) -> Table:
    first = chosen.paths[0]
    if first.suffix.lower() in _JSONL:
        return read_jsonl(first, chosen.split)
    if first.suffix.lower() in _ARROW:
        return ArrowFiles(chosen.paths, chosen.split)
    raise JobError(
        f"{first} is of no known form; expected a .jsonl, .parquet or .arrow file, "
        "or a folder of them."
    )


def _snapshot(folder: Path) -> Path:
    """The hub's cache holds revisions of a data set; one of them, or the folder.

    Raises:
        JobError: there are several, and none is the main one.
    """
    revisions = folder / "snapshots"
    if not revisions.is_dir():
        return folder
    found = sorted(each for each in revisions.iterdir() if each.is_dir())
    main = folder / "refs" / "main"
    name = main.read_text("utf-8-sig").strip() if main.is_file() else None
    chosen = [each for each in found if each.name == name] or found
    if len(chosen) != 1:
        names = _listed([each.name for each in found]) or "no revision"
        raise JobError(f"{revisions} holds {names}; give the folder of one of them.")
    return chosen[0]


def _data_files(folder: Path) -> list[Path]:
    """Files of data in a folder and those below, none that is hidden."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in _ARROW + _JSONL
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def _chosen_of(folder: Path, configuration: str | None, split: str) -> _Chosen:
    if (folder / "dataset_dict.json").is_file():
        return _saved(_split_of_saved(folder, split))
    if (folder / "state.json").is_file():
        return _saved(folder)
    files = _data_files(folder)
    inside = [p for p in files if configuration in p.relative_to(folder).parts[:-1]]
    files = inside or files
    chosen = [p for p in files if _split_named(p) == split]
    if chosen:
        return _one_table(folder, _Chosen(chosen, split))
    splits = sorted({_split_named(p) for p in files})
    if len(splits) == 1:  # a file or a set of shards by another name
        return _one_table(folder, _Chosen(files, splits[0]))
    found = _listed(splits) or "no .parquet, .arrow or .jsonl files"
    raise JobError(
        f"{folder} has {found}; expected a split {split}. Choose one with --split."
    )


def _split_named(path: Path) -> str:
    """What "test-00000-of-00003.parquet", "mmmu-test.arrow" and "test/0000.parquet"
    belong to: "test"."""
    stem = _SHARD.sub("", path.stem).split("-")[-1]
    return path.parent.name if _NUMBER.fullmatch(stem) else stem


def _one_table(folder: Path, chosen: _Chosen) -> _Chosen:
    """Refuse files that are not the whole of one table: the figure would be another's.

    Raises:
        JobError: they are of several forms or folders, or shards are missing.
    """
    paths = chosen.paths
    suffixes, homes = {p.suffix.lower() for p in paths}, {p.parent for p in paths}
    several = len(suffixes) > 1 or len(homes) > 1
    if several or (suffixes <= set(_JSONL) and len(paths) > 1):
        shown = ", ".join(str(path.relative_to(folder)) for path in paths[:5])
        raise JobError(
            f"{folder} has {shown} as {chosen.split}; expected files of one form in "
            "one folder. Give the file or folder that is meant."
        )
    _require_all_shards(folder, chosen)
    return chosen


def _require_all_shards(folder: Path, chosen: _Chosen) -> None:
    counts = {found[1] for p in chosen.paths if (found := _SHARD.search(p.stem))}
    if counts and counts != {f"{len(chosen.paths):05}"}:
        raise JobError(
            f"{folder} has {len(chosen.paths)} files of split {chosen.split}; their "
            f"names tell of {' or '.join(sorted(counts))}. Download the data set anew."
        )


def _split_of_saved(folder: Path, split: str) -> Path:
    splits = _read(folder / "dataset_dict.json").get("splits")
    known = splits if isinstance(splits, list) else []
    if split not in known:
        raise JobError(
            f"{folder} has the splits {_listed(known) or 'none'}; expected "
            f"{split}. Choose one with --split."
        )
    return folder / split


def _saved(folder: Path) -> _Chosen:
    """What `Dataset.save_to_disk` wrote."""
    state = _read(folder / "state.json")
    if state.get("_indices_files"):
        raise JobError(
            f"{folder} holds a selection of other rows; call flatten_indices() on the "
            "data set before save_to_disk()."
        )
    paths = [folder / name for name in _names(state, folder)]
    return _Chosen(paths, str(state.get("_split") or folder.name))


def _names(state: dict[str, Any], folder: Path) -> list[str]:
    files = state.get("_data_files")
    listed = files if isinstance(files, list) else []
    names = [each.get("filename") for each in listed if isinstance(each, dict)]
    plain = [
        name for name in names if isinstance(name, str) and Path(name).name == name
    ]
    if not plain or len(plain) != len(listed):
        raise JobError(
            f"{folder}/state.json names {quoted(files)}; expected files of that "
            "folder. Save the data set anew."
        )
    return plain


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise JobError(f"{path} is missing. Save the data set anew.") from None
    except OSError as error:
        raise JobError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:
        raise JobError(f"{path} is not JSON: {shortened(error)}.") from None
    if not isinstance(found, dict):
        raise JobError(
            f"{path} is a JSON {type(found).__name__}; expected what save_to_disk "
            "writes. Save the data set anew."
        )
    return found


def _listed(names: Sequence[object]) -> str:
    """Names for a message, however many there are."""
    return shortened(", ".join(map(str, names)), 3 * LONGEST_QUOTE)
