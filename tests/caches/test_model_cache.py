"""Converted copies: found again by contents, told from what others put there."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fastvlm_mlx.caches import model_cache
from fastvlm_mlx.caches.model_cache import (
    NOTES,
    ModelCache,
)
from fastvlm_mlx.errors import CheckpointError
from fastvlm_mlx.paths import CACHE_VARIABLE


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, not made yet."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def source(golden_source: Callable[[str], Path], tmp_path: Path) -> Path:
    """A PyTorch checkpoint folder that may be changed."""
    return Path(shutil.copytree(golden_source("apple-train"), tmp_path / "source"))


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read through, in order."""
    seen: list[str] = []
    for_real = model_cache._sha256

    def sha256(file: Path) -> str:
        seen.append(file.name)
        return for_real(file)

    monkeypatch.setattr(model_cache, "_sha256", sha256)
    return seen


# --- what makes a copy another one ------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / ".DS_Store").write_text("Finder was here"),
        lambda folder: (folder / "notes.txt").write_text("mine"),
        lambda folder: (folder / "README.md").write_text("# A better card\n"),
        lambda folder: (folder / "pytorch_model.bin").write_bytes(b"never read"),
        lambda folder: (folder / "expected.safetensors").unlink(),
        lambda folder: os.utime(folder / "config.json", (0, 0)),
        lambda folder: os.utime(folder / "model.safetensors", (0, 0)),
        lambda folder: (folder / "config.json").write_bytes(
            (folder / "config.json").read_bytes()
        ),
    ],
)
@pytest.mark.usefixtures("cache")
def test_what_a_conversion_does_not_read_changes_nothing(
    source: Path, change: Callable[[Path], object]
) -> None:
    before = ModelCache().place_of(source, "x")
    change(source)
    assert ModelCache().place_of(source, "x") == before


@pytest.mark.usefixtures("cache")
def test_a_folder_that_was_moved_is_the_same(source: Path, tmp_path: Path) -> None:
    before = ModelCache().place_of(source, "x")
    source.rename(tmp_path / "elsewhere")
    assert ModelCache().place_of(tmp_path / "elsewhere", "x") == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{}"),
        ("model.safetensors", b"other weights"),
        ("preprocessor_config.json", b"{}"),
        ("generation_config.json", b"{}"),
        ("tokenizer.json", b"{}"),
        ("tokenizer_config.json", b"{}"),
        ("vocab.json", b"{}"),
        ("merges.txt", b""),
        ("added_tokens.json", b"{}"),
        ("chat_template.jinja", b""),
        ("LICENSE", b"other terms"),
        ("README.md", b"---\nlicense: mit\n---\n"),
    ],
)
@pytest.mark.usefixtures("cache")
def test_what_a_conversion_reads_makes_another_copy(
    source: Path, name: str, content: bytes
) -> None:
    before = ModelCache().place_of(source, "x")
    (source / name).write_bytes(content)
    assert ModelCache().place_of(source, "x") != before


@pytest.mark.usefixtures("cache")
def test_a_shard_makes_another_copy(
    golden_source: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(golden_source("apple-fused"), tmp_path / "shards"))
    before = ModelCache().place_of(folder, "x")
    (shard, *_) = sorted(folder.glob("model-*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    assert ModelCache().place_of(folder, "x") != before


@pytest.mark.usefixtures("cache")
def test_a_name_is_part_of_the_place(source: Path) -> None:
    one, other = (
        ModelCache().place_of(source, "one/model"),
        ModelCache().place_of(source, "other"),
    )
    assert one != other
    assert one.name.startswith("one--model-")


# --- what is read -----------------------------------------------------------------


def used(source: Path, name: str) -> Path:
    """The place of a copy that was found and used, as at a start."""
    cache = ModelCache()
    place = cache.place_of(source, name)
    cache.note_use(place, source)
    return place


@pytest.mark.usefixtures("cache")
def test_weights_are_read_through_once(source: Path, hashed: list[str]) -> None:
    first = used(source, "x")
    assert hashed.count("model.safetensors") == 1
    assert used(source, "x") == first
    os.utime(source / "model.safetensors", (0, 0))
    assert hashed.count("model.safetensors") == 1
    assert used(source, "x") == first
    assert hashed.count("model.safetensors") == 2  # touched, and found the same


@pytest.mark.usefixtures("cache")
def test_a_file_of_the_hub_is_known_by_its_name(
    source: Path, tmp_path: Path, hashed: list[str]
) -> None:
    blob = tmp_path / "blobs" / ("a" * 64)
    blob.parent.mkdir()
    (source / "model.safetensors").rename(blob)
    (source / "model.safetensors").symlink_to(blob)
    used(source, "x")
    assert "config.json" in hashed
    assert blob.name not in hashed


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"files": 3}', b"\xff", b'{"a'])
def test_damaged_notes_cost_time_only(
    source: Path, cache: Path, hashed: list[str], content: bytes
) -> None:
    before = used(source, "x")
    (cache / NOTES).write_bytes(content)
    assert used(source, "x") == before


def test_notes_of_files_that_are_gone_are_dropped(
    source: Path, cache: Path, tmp_path: Path, hashed: list[str]
) -> None:
    other = Path(shutil.copytree(source, tmp_path / "other"))
    used(other, "x")
    shutil.rmtree(other)
    used(source, "x")
    noted = json.loads((cache / NOTES).read_text())["files"]
    assert noted
    assert all(Path(path).parent == source for path in noted)


def test_a_cache_that_cannot_be_written_is_no_error(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hashed: list[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    assert used(source, "x").name.startswith("x-")


@pytest.mark.usefixtures("cache")
def test_a_file_that_may_not_be_read_is_named(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(model_cache, "_sha256", refuse)
    with pytest.raises(CheckpointError, match="cannot be read: Permission denied"):
        used(source, "x")


# --- what lies there --------------------------------------------------------------


def put_copy(source: Path, converted: Path, name: str = "x") -> Path:
    cache = ModelCache()
    copy = cache.place_of(source, name)
    shutil.copytree(converted, copy)
    cache.note_use(copy, source)
    return copy


def test_copies_are_told_from_everything_else(
    source: Path, cache: Path, converted_golden: Callable[[str], Path]
) -> None:
    copy = put_copy(source, converted_golden("apple-train"))
    (cache / "photos").mkdir()
    shutil.copytree(copy, cache / "my own model")
    (cache / f"linked-{'0' * 16}").symlink_to(copy)
    (cache / f"empty-{'0' * 16}").mkdir()
    (cache / f".x-{'0' * 16}.{'1' * 16}.fastvlm-part").mkdir()
    found = ModelCache().contents()
    assert [each.path for each in found.copies] == [copy]
    assert found.copies[0].source == source
    assert found.copies[0].stored_bytes == sum(
        file.stat().st_size for file in copy.iterdir()
    )
    assert len(found.unfinished) == 1
    assert {path.name for path in found.others} == {
        "photos",
        "my own model",
        f"linked-{'0' * 16}",
        f"empty-{'0' * 16}",
    }


def test_the_one_used_last_comes_first(
    source: Path, cache: Path, converted_golden: Callable[[str], Path]
) -> None:
    first, second = (
        put_copy(source, converted_golden("apple-train"), name) for name in "ab"
    )
    os.utime(first, (1, 1))
    assert [copy.path for copy in ModelCache().contents().copies] == [second, first]
    os.utime(second, (0, 0))
    ModelCache().note_use(first, source)
    assert [copy.path for copy in ModelCache().contents().copies] == [first, second]


def test_a_copy_whose_source_has_changed_is_told(
    source: Path, cache: Path, converted_golden: Callable[[str], Path]
) -> None:
    put_copy(source, converted_golden("apple-train"))
    (copy,) = ModelCache().contents().copies
    assert ModelCache().is_current(copy) is True
    os.utime(source / "config.json", (0, 0))
    assert ModelCache().is_current(copy) is True
    (source / "config.json").write_text("{}")
    assert ModelCache().is_current(copy) is False
    shutil.rmtree(source)
    assert ModelCache().is_current(copy) is False
    (cache / NOTES).unlink()
    assert ModelCache().is_current(ModelCache().contents().copies[0]) is None


def test_an_empty_cache(cache: Path) -> None:
    found = ModelCache().contents()
    assert (found.copies, found.unfinished, found.others) == ((), (), ())
    assert not cache.exists()
