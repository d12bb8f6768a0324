"""A table as a task's questions: checked, and with their images still on disk."""

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import JobError, quoted, shortened
from .images import Opened, images_by_id, images_of
from .table import Table
from .task import Row, Task

_NOT_ASKABLE = (LookupError, TypeError, ValueError, AttributeError, SyntaxError)
"""What the functions of a task may raise on a row of another form."""


_LONGEST_REASON = 300
"""Characters that a message repeats of what is wrong with a row."""


@dataclass(frozen=True)
class Question:
    """A row as it is asked."""

    row: int  # its place in the table, from 0
    prompt: str
    truth: Any
    group: str | None
    image_columns: tuple[str, ...]
    image_id: str | None


@dataclass(frozen=True)
class Questions:
    """What a task asks of a table."""

    task: Task
    table: Table
    listed: Sequence[Question]
    images: Table | None = None  # by id, where the questions' own table has none
    folder: Path | None = None  # where images' paths begin, if not beside the table
    whole: bool = True  # every question of the table is there

    def with_images(
        self, wanted: Collection[int]
    ) -> Iterator[tuple[Question, list[Opened]]]:
        """Questions of some rows, in order, each with its images, undecoded.

        Raises:
            JobError: a cell holds no image, where the task cannot do without.
        """
        questions = {q.row: q for q in self.listed if q.row in wanted}
        if self.images is not None:
            ids = {str(q.image_id) for q in questions.values()}
            by_id = images_by_id(self.images, ids)
            yield from ((q, _by_id(q, by_id)) for q in questions.values())
            return
        columns = {c for q in questions.values() for c in q.image_columns}
        for place, row in self.table.rows(columns, questions.keys()):
            yield questions[place], self._images(questions[place], row)

    @property
    def _none_is(self) -> str:
        """How a row says that it has none; an empty cell may be a mistake."""
        return "" if self.task.needs_image else "; expected [] if it has none"

    def _images(self, question: Question, row: Row) -> list[Opened]:
        folder = self.folder or self.table.folder_of(question.row)
        found: list[Opened] = []
        try:
            for column in question.image_columns:
                cell = list(images_of(row.get(column), folder))
                if not cell and (self.task.needs_image or row.get(column) != []):
                    raise JobError(
                        f"there is no image in column {column}{self._none_is}"
                    )
                found += cell
        except JobError as error:
            why = shortened(error, _LONGEST_REASON)
            raise JobError(f"{self.table.name}, row {question.row}: {why}.") from None
        return found


def read_questions(
    task: Task,
    table: Table,
    images: Table | None = None,
    limit: int | None = None,
    folder: Path | None = None,
) -> Questions:
    """Check every row of a table and put it as the task has it.

    Args:
        images: a table with the columns id and image, for tasks with `image_id`.
        limit: rows to take; None takes all.
        folder: where the paths of images begin; None is beside the table.

    Raises:
        JobError: columns are missing, a row cannot be asked or judged, or there are no
            rows. It names the first such row.
    """
    own = "image" in table.columns or task.image_id is None
    _require_columns(task, table, own, images)
    asked = (
        question
        for place, row in table.rows(_text_columns(table))
        if (question := _question(task, table, place, row, own)) is not None
    )
    listed = list(islice(asked, None if limit is None else min(limit, sys.maxsize)))
    if not listed:
        raise JobError(f"{table.name} holds no question of task {task.name}.")
    whole = limit is None or next(asked, None) is None
    return Questions(task, table, listed, None if own else images, folder, whole)


def _require_columns(task: Task, table: Table, own: bool, images: Table | None) -> None:
    needed = [*task.columns, *([] if own else [str(task.image_id)])]
    missing = [column for column in needed if column not in table.columns]
    if missing:
        raise JobError(
            f"{table.name} has no column {', '.join(missing)}; task {task.name} needs "
            f"{', '.join(needed)}, and it has {_named(table.columns) or 'none'}."
        )
    if not own and images is None:
        raise JobError(
            f"{table.name} has no column image; give the table of its images, with "
            "columns id and image, as --images."
        )


def _named(columns: Sequence[str]) -> str:
    return shortened(", ".join(map(str, columns)), _LONGEST_REASON)


def _text_columns(table: Table) -> list[str]:
    """An image's bytes are not to be read before they are needed."""
    return [name for name in table.columns if not _is_image_column(name)]


def _is_image_column(name: str) -> bool:
    return name == "image" or name.startswith("image_")


def _question(
    task: Task, table: Table, place: int, row: Mapping[str, Any], own: bool
) -> Question | None:
    try:
        if not task.keep(row):
            return None
        question = Question(
            place,
            task.ask(row),
            task.truth(row),
            task.group(row),
            task.image_columns(row) if own else (),
            None if own else str(row[str(task.image_id)]),
        )
        task.score("", question.truth)
    except _NOT_ASKABLE as error:
        raise JobError(
            f"{table.name}, row {place}: it is no question of task {task.name} "
            f"({type(error).__name__}: {shortened(error)}). A split without answers, "
            "such as a test split of a challenge, cannot be judged."
        ) from None
    missing = [c for c in question.image_columns if c not in table.columns]
    if missing:
        raise JobError(
            f"{table.name} has no column {', '.join(missing)}, and row {place} of "
            f"task {task.name} needs its image."
        )
    return question


def _by_id(question: Question, by_id: Mapping[str, list[Opened]]) -> list[Opened]:
    found = by_id.get(str(question.image_id))
    if not found:
        raise JobError(
            f"row {question.row}: there is no image {quoted(question.image_id)} in "
            "the table of images. Give the one that has it as --images."
        )
    return found
