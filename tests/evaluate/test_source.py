"""Tables in every form they come in, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from fastvlm_mlx.errors import JobError
from fastvlm_mlx.evaluate.easy_vqa_rows import easy_vqa_rows
from fastvlm_mlx.evaluate.source import open_images, open_table
from fastvlm_mlx.evaluate.tasks import TASKS

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

PLAIN = TASKS["plain"]
ROWS: list[dict[str, Any]] = [
    {"question": f"q{i}", "answer": "a", "image": {"bytes": b"\x00" * i, "path": None}}
    for i in range(70)
]


def write_parquet(path: Path, rows: list[dict[str, Any]], group: int = 20) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)


def write_arrow(path: Path, rows: list[dict[str, Any]], is_file: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    opener = pa.ipc.new_file if is_file else pa.ipc.new_stream
    with opener(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=9)


def write_jsonl(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), "utf-8")
    return path


def questions(path: Path, **given: Any) -> list[str]:
    table = open_table(path, given.pop("task", PLAIN), **given)
    return [row["question"] for _, row in table.rows(["question"])]


# --- forms ----------------------------------------------------------------------------


def test_jsonl(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", '{"question": "q"}', "", '{"x": 1}')
    table = open_table(path, PLAIN)
    assert list(table.columns) == ["question", "x"] and len(table) == 2
    assert list(table.rows(["x"], {1})) == [(1, {"x": 1})]
    assert table.folder_of(0) == tmp_path


@pytest.mark.parametrize("form", ["parquet", "stream", "file"])
def test_arrow_and_parquet(tmp_path: Path, form: str) -> None:
    path = tmp_path / ("a.parquet" if form == "parquet" else "a.arrow")
    if form == "parquet":
        write_parquet(path, ROWS)
    else:
        write_arrow(path, ROWS, form == "file")
    table = open_table(path, PLAIN)
    assert len(table) == 70
    got = list(table.rows(["question", "image"], {3, 19, 20, 69}))
    assert [place for place, _ in got] == [3, 19, 20, 69]
    assert [row["question"] for _, row in got] == ["q3", "q19", "q20", "q69"]
    assert got[0][1]["image"]["bytes"] == b"\x00" * 3
    assert list(table.rows(["question"])) == [
        (place, {"question": f"q{place}"}) for place in range(70)
    ]


def test_a_snapshot_of_the_hub(tmp_path: Path) -> None:
    """Configurations are folders, and a split's shards are one table."""
    for shard in range(2):
        name = f"validation-0000{shard}-of-00002.parquet"
        write_parquet(tmp_path / "DocVQA" / name, ROWS[shard * 5 : shard * 5 + 5])
    write_parquet(tmp_path / "DocVQA/test-00000-of-00001.parquet", ROWS[60:])
    write_parquet(tmp_path / "InfographicVQA/validation-00000-of-00001.parquet", ROWS)
    found = questions(tmp_path, task=TASKS["docvqa"])
    assert found == [f"q{i}" for i in range(10)]
    assert len(questions(tmp_path, task=TASKS["docvqa"], split="test")) == 10
    assert len(questions(tmp_path, task=TASKS["infovqa"])) == 70
    table = open_table(tmp_path, TASKS["docvqa"])
    assert table.folder_of(7) == tmp_path / "DocVQA"


def test_a_saved_data_set(tmp_path: Path) -> None:
    """The layout of `DatasetDict.save_to_disk`."""
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["test"]}))
    write_arrow(tmp_path / "test/data-00000-of-00001.arrow", ROWS)
    files = [{"filename": "data-00000-of-00001.arrow"}]
    state: dict[str, Any] = {"_data_files": files, "_split": "test_of_2020"}
    (tmp_path / "test/state.json").write_text(json.dumps(state))
    assert open_table(tmp_path, PLAIN).split == "test_of_2020"
    del state["_split"]
    (tmp_path / "test/state.json").write_text(json.dumps(state))
    assert open_table(tmp_path, PLAIN).split == "test"
    assert len(questions(tmp_path)) == len(questions(tmp_path / "test")) == 70
    with pytest.raises(JobError, match="splits test; expected validation"):
        questions(tmp_path, split="validation")
    state["_indices_files"] = [{"filename": "indices.arrow"}]
    (tmp_path / "test/state.json").write_text(json.dumps(state))
    with pytest.raises(JobError, match="flatten_indices"):
        questions(tmp_path)


def test_pictures_apart(tmp_path: Path) -> None:
    write_parquet(tmp_path / "testdev_balanced_images/testdev.parquet", ROWS)
    found = open_images(tmp_path, TASKS["gqa"])
    assert found is not None and len(found) == 70
    assert open_images(tmp_path / "elsewhere", TASKS["gqa"]) is None


def test_easy_vqa() -> None:
    table = easy_vqa_rows("test")
    assert len(table) == 9673
    assert table.split == "test" and easy_vqa_rows("train").split == "train"
    (_, row), *_ = table.rows(table.columns)
    assert Path(row["image"]).is_file()


def test_other_data_has_another_digest(tmp_path: Path) -> None:
    digests = set()
    for number in range(2):
        path = tmp_path / f"{number}.parquet"
        write_parquet(path, ROWS[number:])
        digests.add(open_table(path, PLAIN).digest())
        lines = write_jsonl(tmp_path / f"{number}.jsonl", json.dumps({"q": number}))
        digests.add(open_table(lines, PLAIN).digest())
    assert len(digests) == 4


# --- refusals -------------------------------------------------------------------------


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="does not exist"):
        questions(tmp_path / "no")
    with pytest.raises(JobError, match="no .parquet, .arrow or .jsonl"):
        questions(tmp_path)


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        write_parquet(tmp_path / f"{split}-00000-of-00001.parquet", ROWS)
    with pytest.raises(JobError, match="dev, train; expected a split test"):
        questions(tmp_path)
    assert len(questions(tmp_path, split="dev")) == 70


def test_files_that_are_not_one_table(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a/test-00000-of-00002.parquet", [{"question": "q"}])
    write_parquet(tmp_path / "a/test-00001-of-00002.parquet", [{"query": "q"}])
    with pytest.raises(JobError, match="has columns query; expected those of"):
        questions(tmp_path)
    write_parquet(tmp_path / "b/test.parquet", ROWS)
    with pytest.raises(JobError, match="b/test.parquet as test; .* in one folder"):
        questions(tmp_path)
    write_jsonl(tmp_path / "b/test.jsonl", "{}")
    with pytest.raises(JobError, match="expected files of one form"):
        questions(tmp_path / "b")


def test_a_shard_that_is_not_there(tmp_path: Path) -> None:
    """The figure would be another split's."""
    for shard in (0, 2):
        write_parquet(tmp_path / f"test-0000{shard}-of-00003.parquet", ROWS)
    with pytest.raises(JobError, match="has 2 files of split test; .* tell of 00003"):
        questions(tmp_path)


def test_revisions_of_the_hubs_cache(tmp_path: Path) -> None:
    for revision, count in (("aaa", 1), ("bbb", 2)):
        data = tmp_path / "snapshots" / revision / "data"
        write_parquet(data / "test-00000-of-00001.parquet", ROWS[:count])
    with pytest.raises(JobError, match="holds aaa, bbb; give the folder of one"):
        questions(tmp_path)
    (tmp_path / "refs").mkdir()
    (tmp_path / "refs/main").write_text("bbb")
    assert questions(tmp_path) == ["q0", "q1"]
    assert questions(tmp_path / "snapshots/aaa") == ["q0"]


def test_links_of_the_hubs_cache(tmp_path: Path) -> None:
    """Files are links into another folder there."""
    write_parquet(tmp_path / "blobs/abc.parquet", ROWS)
    data = tmp_path / "snapshots/aaa/data"
    data.mkdir(parents=True)
    (data / "test-00000-of-00001.parquet").symlink_to(tmp_path / "blobs/abc.parquet")
    assert len(questions(tmp_path)) == 70


def test_shards_that_are_only_numbered(tmp_path: Path) -> None:
    """As the hub's own conversions to parquet are."""
    for split, rows in (("test", ROWS[:3]), ("train", ROWS)):
        write_parquet(tmp_path / "default" / split / "0000.parquet", rows)
        write_parquet(tmp_path / "default" / split / "0001.parquet", rows)
    assert len(questions(tmp_path)) == 6


def test_hidden_files_are_no_data(tmp_path: Path) -> None:
    write_parquet(tmp_path / "test.parquet", ROWS)
    (tmp_path / "._test.parquet").write_bytes(b"what macOS leaves")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/test.parquet").write_bytes(b"")
    assert len(questions(tmp_path)) == 70


def test_the_split_is_known(tmp_path: Path) -> None:
    write_parquet(tmp_path / "dev-00000-of-00001.parquet", ROWS)
    assert open_table(tmp_path, PLAIN).split == "dev"
    file = tmp_path / "dev-00000-of-00001.parquet"
    assert open_table(file, PLAIN).split == "dev"
    assert open_table(file, PLAIN, "validation").split == "validation"


@pytest.mark.parametrize(
    "state",
    [
        *("[]", "{}", '{"_data_files": 3}', '{"_data_files": ["a"]}', "{"),
        '{"_data_files": [{"filename": "../a.arrow"}]}',
        '{"_data_files": [{"filename": "/etc/a.arrow"}, {"filename": "b.arrow"}]}',
    ],
)
def test_a_damaged_state(tmp_path: Path, state: str) -> None:
    (tmp_path / "state.json").write_text(state)
    with pytest.raises(JobError, match=r"state\.json"):
        questions(tmp_path)


def test_a_file_that_is_damaged_inside(tmp_path: Path) -> None:
    """Its footer is whole, so that it only shows when rows are read."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path, compression="zstd")
    data = bytearray(path.read_bytes())
    data[4:60] = b"\xff" * 56
    path.write_bytes(data)
    with pytest.raises(JobError, match="a.parquet cannot be read: .* Download it anew"):
        questions(path)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_damaged_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PAR1 is not enough")
    with pytest.raises(JobError, match="cannot be read"):
        questions(tmp_path / name)


@pytest.mark.parametrize("line", ["[1]", "{", "nothing"])
def test_a_line_that_is_no_object(tmp_path: Path, line: str) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", "{}", line)
    with pytest.raises(JobError, match="a.jsonl, line 2: it is"):
        questions(path)


def test_an_unknown_form(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question\n")
    with pytest.raises(JobError, match="of no known form"):
        questions(tmp_path / "a.csv")


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "a.parquet", ROWS)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(JobError, match=r"pip install 'fastvlm-mlx\[evaluate\]'"):
        questions(tmp_path / "a.parquet")


def test_easy_vqa_has_two_splits() -> None:
    with pytest.raises(JobError, match="no split dev"):
        easy_vqa_rows("dev")
