"""Files of answers: what is another's stays as it is, and why is said."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fastvlm_mlx.answer_file import AnswerFile, JobLine
from fastvlm_mlx.errors import ImageError, JobError, WriteError
from fastvlm_mlx.request import Outcome

LINES = [JobLine("first", {}, "0123456789abcdef"), JobLine(2, {}, "fedcba9876543210")]


def failed(reason: str = "no image") -> Outcome:
    return Outcome(index=0, id=None, result=None, error=ImageError(reason))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.jsonl"


# --- what is another's ------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '{"id": 2, "name": "somebody\'s own"}',
        '{"id": "first", "answer": "theirs"}',
        '{"id": "first", "request": "another job"}',
        '{"id": 3, "request": "fedcba9876543210"',
        '{"id": 2, "request": "fedcba9876543211", "text": "cut o',
        "[1, 2",
        "\n",
        "\0" * 100,
    ],
)
def test_what_another_wrote_is_not_cut_off(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(JobError, match="belongs to another job: line 1: "):
        AnswerFile(path, LINES)
    assert path.read_text() == text


@pytest.mark.parametrize("length", [1, 8, 30, 45, 60])
def test_what_was_cut_off_of_ours_is_asked_again(path: Path, length: int) -> None:
    with AnswerFile(path, LINES) as answers:
        answers.append(LINES[0], failed())
        whole = path.read_bytes()
        answers.append(LINES[1], failed())
    path.write_bytes(path.read_bytes()[: len(whole) + length])
    with AnswerFile(path, LINES) as answers:
        assert (answers.done, answers.failed) == ({"first"}, ["first"])
    assert path.read_bytes() == whole


def test_an_id_of_any_characters_is_known_again(path: Path) -> None:
    lines = [JobLine('"é\ud800\\\n', {}, "0123456789abcdef")]
    with AnswerFile(path, lines) as answers:
        answers.append(lines[0], failed())
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with AnswerFile(path, lines) as answers:
            assert not answers.done


def test_a_run_without_answers_leaves_no_file(path: Path) -> None:
    with AnswerFile(path, LINES):
        assert path.exists()
    assert not path.exists()
    path.touch()  # somebody's, though there is nothing in it
    with AnswerFile(path, LINES):
        pass
    assert path.exists()


def test_a_line_that_was_not_counted_is_left(path: Path) -> None:
    """As Ctrl-C leaves it, between the writing and the counting."""
    with AnswerFile(path, LINES) as answers:
        path.write_text('{"id": 2, "request": "fedcba9876543210"}\n')
        assert not answers.done
    assert path.stat().st_size


def test_a_file_that_vanished_is_made_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its other run ended without a line between our opening and our locking it."""
    opened = os.open
    calls = []

    def open_and_lose(*arguments: object) -> int:
        file = opened(*arguments)  # type: ignore[arg-type]
        calls.append(file)
        if len(calls) == 1:
            path.unlink()
        return file

    monkeypatch.setattr(os, "open", open_and_lose)
    with AnswerFile(path, LINES) as answers:
        answers.append(LINES[0], failed())
    assert len(calls) == 2
    assert json.loads(path.read_text())["id"] == "first"


def test_other_runs_are_kept_out(path: Path) -> None:
    with AnswerFile(path, LINES), pytest.raises(JobError, match="by another run"):
        AnswerFile(path, LINES)


# --- causes -----------------------------------------------------------------------


def fail_with(number: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("call", ["write", "fsync"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fills_up_leaves_whole_lines(
    path: Path, call: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with AnswerFile(path, LINES) as answers:
        answers.append(LINES[0], failed())
        whole = path.read_bytes()
        monkeypatch.setattr(os, call, fail_with(number))
        with pytest.raises(WriteError, match=os.strerror(number)):
            answers.append(LINES[1], failed())
        assert (answers.done, answers.failed) == ({"first"}, ["first"])
    assert path.read_bytes() == whole


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_a_disk_that_cannot_be_waited_for(
    path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", fail_with(number))
    with AnswerFile(path, LINES) as answers:
        answers.append(LINES[0], failed())
    assert path.read_bytes().count(b"\n") == 1


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [
        (errno.EWOULDBLOCK, JobError, "written by another run"),
        (errno.EACCES, JobError, "written by another run"),
        (errno.EIO, WriteError, "Input/output error"),
        (errno.EROFS, WriteError, "Read-only file system"),
        (errno.ENOLCK, None, ""),
        (errno.ENOTSUP, None, ""),
        (errno.ENOSYS, None, ""),
    ],
)
def test_what_a_lock_says(
    path: Path,
    number: int,
    error: type[Exception] | None,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fcntl.flock", fail_with(number))
    if error is None:
        with AnswerFile(path, LINES) as answers:
            answers.append(LINES[0], failed())
    else:
        with pytest.raises(error, match=message):
            AnswerFile(path, LINES)


def test_an_error_is_repeated_in_part(path: Path) -> None:
    with AnswerFile(path, LINES) as answers:
        answers.append(LINES[0], failed("x" * 100_000))
    assert path.stat().st_size < 1000


def test_an_id_is_quoted_in_part(path: Path) -> None:
    text = json.dumps({"id": "x" * 100_000, "request": ""}) + "\n"
    path.write_text(text)
    with pytest.raises(JobError) as refused:
        AnswerFile(path, LINES)
    assert len(str(refused.value)) < 400
