"""Folders that `datasets` itself has written, as lmms-eval's data come."""

from pathlib import Path
from typing import Any

import pytest

from fastvlm_mlx.evaluate.questions import read_questions
from fastvlm_mlx.evaluate.source import open_table
from fastvlm_mlx.evaluate.tasks import TASKS

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

datasets = pytest.importorskip("datasets")

COUNT = 7


@pytest.fixture
def written(picture_file: Path) -> Any:
    """A data set with its pictures inside, in two splits."""
    image = {"bytes": picture_file.read_bytes(), "path": None}
    rows = [
        {"image": image, "question": f"q{i}", "answers": [f"a{i}", "b"]}
        for i in range(COUNT)
    ]
    column = datasets.Image()
    whole = datasets.Dataset.from_list(rows).cast_column("image", column)
    return datasets.DatasetDict({"validation": whole, "test": whole.select([0])})


def check(path: Path, picture_file: Path) -> None:
    table = open_table(path, TASKS["docvqa"])
    assert table.split == "validation"
    questions = read_questions(TASKS["docvqa"], table)
    found = list(questions.with_images(range(COUNT)))
    assert [question.truth for question, _ in found] == [
        [f"a{i}", "b"] for i in range(COUNT)
    ]
    assert all(pictures == [picture_file.read_bytes()] for _, pictures in found)


def test_save_to_disk(tmp_path: Path, written: Any, picture_file: Path) -> None:
    written.save_to_disk(tmp_path / "all", num_shards={"validation": 3, "test": 1})
    check(tmp_path / "all", picture_file)
    written["validation"].save_to_disk(tmp_path / "validation")
    check(tmp_path / "validation", picture_file)


def test_a_selection(tmp_path: Path, written: Any) -> None:
    """What `select` leaves behind is written flat: rows in the order chosen."""
    chosen = written["validation"].select([5, 2])
    chosen.save_to_disk(tmp_path / "chosen")
    table = open_table(tmp_path / "chosen", TASKS["docvqa"])
    assert [row["question"] for _, row in table.rows(["question"])] == ["q5", "q2"]


def test_parquet_and_the_cache(
    tmp_path: Path, written: Any, picture_file: Path
) -> None:
    shards = tmp_path / "hub" / "DocVQA"
    shards.mkdir(parents=True)
    for split, rows in written.items():
        rows.to_parquet(shards / f"{split}-00000-of-00001.parquet")
    check(tmp_path / "hub", picture_file)
    files = {split: str(shards / f"{split}-*.parquet") for split in written}
    cache = tmp_path / "cache"
    datasets.load_dataset("parquet", data_files=files, cache_dir=str(cache))
    check(cache, picture_file)
