"""Data that cannot be read: the cause is said, and no more of the data than needed."""

import os
from pathlib import Path
from typing import Any

import pytest

from fastvlm_mlx.errors import JobError
from fastvlm_mlx.evaluate.questions import read_questions
from fastvlm_mlx.evaluate.source import open_images, open_table
from fastvlm_mlx.evaluate.table import ListedRows
from fastvlm_mlx.evaluate.tasks import TASKS

PLAIN = TASKS["plain"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x" * 300 + ".jsonl", "File name too long"),
        ("a\0b.jsonl", "does not exist"),
        ("gone.jsonl", "does not exist"),
    ],
)
def test_a_path_that_cannot_be(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(JobError, match=message) as refused:
        open_table(tmp_path / name, PLAIN)
    assert len(str(refused.value)) < 200


def test_a_path_of_images_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="File name too long"):
        open_images(tmp_path / ("x" * 300), TASKS["gqa"])


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_damage_and_refusal_are_told_apart(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / f"data{suffix}"
    path.write_bytes(b"no table at all")
    with pytest.raises(JobError, match="cannot be read: .*Download it anew"):
        open_table(path, PLAIN)

    def fail(*_: Any, **__: Any) -> None:
        raise PermissionError(13, os.strerror(13), str(path))

    name = "_ParquetFile" if suffix == ".parquet" else "_ArrowFile"
    monkeypatch.setattr(f"fastvlm_mlx.evaluate.arrow_files.{name}", fail)
    with pytest.raises(JobError) as refused:
        open_table(path, PLAIN)
    assert str(refused.value) == f"{path} cannot be read: Permission denied."


def test_what_a_folder_says_of_itself_is_read_with_a_mark(tmp_path: Path) -> None:
    (tmp_path / "dataset_dict.json").write_text('\ufeff{"splits": ["dev"]}', "utf-8")
    with pytest.raises(JobError, match="has the splits dev; expected test"):
        open_table(tmp_path, PLAIN)
    (tmp_path / "dataset_dict.json").write_text("{" * 100_000)
    with pytest.raises(JobError, match="dataset_dict.json is not JSON") as refused:
        open_table(tmp_path, PLAIN)
    assert len(str(refused.value)) < 300


def test_as_much_as_is_needed_of_a_table_is_repeated(tmp_path: Path) -> None:
    wide = {f"column {n}": n for n in range(10_000)}
    with pytest.raises(JobError, match="has no column question; ") as refused:
        read_questions(PLAIN, ListedRows("wide", [wide], tmp_path))
    assert len(str(refused.value)) < 600
    long = {"image": "a.png", "question": "?", "answer": {"x" * 10_000: 1}}
    with pytest.raises(JobError, match="row 0: it is no question") as refused:
        read_questions(
            TASKS["docvqa"], ListedRows("t", [long | {"answers": 3}], tmp_path)
        )
    assert len(str(refused.value)) < 600


def test_an_image_that_is_missing_is_named_in_part(tmp_path: Path) -> None:
    row = {"image": 3, "question": "?", "answer": "x"}
    for image in ("/" + "x" * 100_000, "../" + "y" * 100_000):
        table = ListedRows("t", [row | {"image": image}], tmp_path)
        questions = read_questions(PLAIN, table)
        with pytest.raises(JobError, match="t, row 0: ") as refused:
            list(questions.with_images([0]))
        assert len(str(refused.value)) < 600
