"""A cell of a table as images to be opened."""

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import JobError, shortened
from ..images.sources import is_data_url
from .table import Table

Opened = str | bytes
"""A path, or an encoded image."""


def images_of(cell: Any, folder: Path) -> Iterator[Opened]:
    """The images in a cell: none, one or a list of them.

    Args:
        cell: a path, a data: URL, bytes, or a mapping with "bytes" and "path", which
            is how Hugging Face `datasets` stores an image.
        folder: where paths begin, and what they may not leave.

    Raises:
        JobError: the cell holds something else, or a path out of the folder.
    """
    if cell is None:
        return
    if isinstance(cell, list | tuple):
        if None in cell:
            raise JobError("one of its images is missing")
        for each in cell:
            yield from images_of(each, folder)
    elif isinstance(cell, bytes):
        yield cell
    elif isinstance(cell, str):
        yield _inside(cell, folder)
    elif isinstance(cell, Mapping) and (cell.get("bytes") or cell.get("path")):
        yield from images_of(cell.get("bytes") or cell["path"], folder)
    else:
        raise JobError(
            f"an image is {type(cell).__name__}; expected a path, bytes, or "
            "a mapping with one of them"
        )


def _inside(path: str, folder: Path) -> str:
    """A path from a folder, judged by its spelling: the hub's files lie behind links.

    A data set is often somebody else's; it is not to choose what is read here.
    """
    if not path.strip():
        raise JobError("an image is an empty text; expected a path")
    if "://" in path or is_data_url(path):
        return path  # URLs are refused, in better words, where files are opened
    home = os.path.abspath(folder)
    found = os.path.abspath(os.path.join(home, os.path.expanduser(path)))
    if os.path.commonpath((home, found)) != home:
        raise JobError(
            f"the image {shortened(path)} is outside {folder}; give the folder "
            "that holds it as --images"
        )
    return found


def images_by_id(table: Table, wanted: Collection[str]) -> dict[str, list[Opened]]:
    """Images of a table with columns "id" and "image"; those wanted, in memory.

    Raises:
        JobError: it has no such columns, or a cell holds no image.
    """
    missing = {"id", "image"} - set(table.columns)
    if missing:
        raise JobError(
            f"{table.name} has no column {' and '.join(sorted(missing))}; expected a "
            "table of images with the columns id and image."
        )
    found: dict[str, list[Opened]] = {}
    for place, row in table.rows(("id", "image")):
        if str(row.get("id")) in wanted:
            try:
                cell = list(images_of(row.get("image"), table.folder_of(place)))
            except JobError as error:
                raise JobError(f"{table.name}, row {place}: {error}.") from None
            found[str(row["id"])] = cell
    return found
