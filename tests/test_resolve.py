"""From a name to a converted folder: in place, converted once, or an error."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fastvlm_mlx
from fastvlm_mlx import resolve as resolve_module
from fastvlm_mlx.cli import main
from fastvlm_mlx.errors import CheckpointError, ConfigError
from fastvlm_mlx.model_folder import is_converted, load_config
from fastvlm_mlx.resolve import CACHE_VARIABLE, cache_folder, find_model, resolve
from tests.opened_files import opened_files

NANO = Path(fastvlm_mlx.__file__).parent / "assets" / "nano"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, not made yet."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def source(golden_source: Callable[[str], Path], tmp_path: Path) -> Path:
    """A PyTorch checkpoint folder that may be changed."""
    return Path(shutil.copytree(golden_source("apple-train"), tmp_path / "My model"))


# --- folders ----------------------------------------------------------------------


def test_nano_is_inside_the_package() -> None:
    assert resolve("nano") == NANO


def test_nano_can_be_loaded() -> None:
    if not NANO.is_dir():
        pytest.skip("fastvlm_mlx/assets/nano has not been trained yet")
    result = fastvlm_mlx.load().generate(None, "hello", max_tokens=1)
    assert len(result.token_ids) <= 1


def test_a_converted_folder_is_used_in_place(
    converted_golden: Callable[[str], Path], cache: Path
) -> None:
    folder = converted_golden("apple-train")
    assert resolve(folder) == resolve(str(folder)) == folder
    assert not cache.exists()


def test_a_pytorch_folder_is_converted_once(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = resolve(source)
    assert found.parent == cache
    assert found.name.startswith("My--model-")
    assert is_converted(found)
    assert load_config(found).source == "My model"
    monkeypatch.setattr(resolve_module, "_convert", None)  # not called again
    assert resolve(source) == resolve(str(source)) == found


def test_a_model_that_was_found_is_found_again_without_reading(
    converted_golden: Callable[[str], Path],
) -> None:
    found = find_model(converted_golden("apple-train"))
    with opened_files() as opened:
        assert find_model(found) is found
    assert opened == []


@pytest.mark.parametrize("kind", ["converted", "source", "nano", "model"])
def test_a_start_reads_each_json_file_once(
    source: Path, cache: Path, kind: str, converted_golden: Callable[[str], Path]
) -> None:
    folder = converted_golden("apple-train")
    find_model(source)  # converted on first use
    models: dict[str, str | os.PathLike[str]] = {
        "converted": folder,
        "source": source,
        "nano": "nano",
        "model": find_model(folder),
    }
    with opened_files() as opened:
        fastvlm_mlx.load(models[kind])
    names = [(file.parent, file.name) for file in opened if file.suffix == ".json"]
    assert sorted(names) == sorted(set(names))
    configs = [file for file in opened if file.name == "config.json"]
    assert len(configs) == {"source": 2, "model": 0}.get(
        kind, 1
    )  # a source has its own


def test_a_question_on_the_command_line_reads_config_json_once(
    picture_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--image", str(picture_file), "--prompt", "hi", "--max-tokens", "1"]
    with opened_files() as opened:
        assert main(["generate", "--model", "nano", *words]) == 0
    assert [file.name for file in opened].count("config.json") == 1


def test_the_source_is_left_as_it_was(source: Path, cache: Path) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in source.iterdir()}
    resolve(source)
    after = {file.name: file.stat().st_mtime_ns for file in source.iterdir()}
    assert before == after


def test_a_changed_file_is_converted_anew(source: Path, cache: Path) -> None:
    first = resolve(source)
    status = (source / "config.json").stat()
    os.utime(source / "config.json", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert resolve(source) != first
    assert len(list(cache.iterdir())) == 2


def test_a_new_format_is_converted_anew(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an upgrade would meet its own old cache, and refuse it for ever."""
    first = resolve(source)
    monkeypatch.setattr(resolve_module, "FORMAT_VERSION", 10**6)
    assert resolve(source) != first


def test_folders_of_one_name_do_not_meet(
    source: Path, tmp_path: Path, cache: Path
) -> None:
    other = shutil.copytree(source, tmp_path / "elsewhere" / source.name)
    assert resolve(source) != resolve(other)


def test_a_failed_conversion_leaves_nothing(source: Path, cache: Path) -> None:
    (source / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="model.safetensors"):
        resolve(source)
    assert list(cache.glob("*")) == []


def test_another_process_may_be_faster(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both convert, one writes first, and both go on with what it wrote."""
    expected = resolve(source)
    shutil.rmtree(expected)
    convert = resolve_module._convert

    def twice(*arguments: Any) -> None:
        convert(*arguments)
        convert(*arguments)

    monkeypatch.setattr(resolve_module, "_convert", twice)
    assert resolve(source) == expected


def test_the_licence_is_shown_when_it_is_carried_along(
    source: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (source / "README.md").write_text("---\nlicense_name: apple-amlr\n---\n")
    (source / "LICENSE").write_text("the terms")
    with caplog.at_level(logging.INFO, "fastvlm_mlx"):
        found = resolve(source)
    assert "Licence of the weights: apple-amlr" in caplog.text
    assert (found / "LICENSE").read_text() == "the terms"


@pytest.mark.parametrize("link", [False, True])
def test_home_and_links_are_followed(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, link: bool
) -> None:
    expected = resolve(source)
    monkeypatch.setenv("HOME", str(source.parent))
    name = source.name
    if link:
        (source.parent / "link").symlink_to(source)
        name = "link"
    found = resolve(f"~/{name}")
    assert found.name.split("-")[-1] == expected.name.split("-")[-1]


# --- where the cache is -----------------------------------------------------------


def test_the_cache_is_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in (CACHE_VARIABLE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    assert cache_folder() == tmp_path / ".cache" / "fastvlm-mlx"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "fastvlm-mlx"
    monkeypatch.setenv(CACHE_VARIABLE, "~/mine")
    assert cache_folder() == tmp_path / "mine"


# --- names that lead nowhere ------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["nanoo", "./missing", "/missing/model", "a/b/c", "a\0b", "x" * 5000, "..x"]
)
def test_an_unknown_name_says_what_is_known(name: str) -> None:
    message = "not a folder here; expected 'nano', a model folder, or a hub id such as"
    with pytest.raises(CheckpointError, match=message):
        resolve(name)


def test_an_unknown_home_is_an_unknown_name() -> None:
    with pytest.raises(CheckpointError, match="not a folder here"):
        resolve("~nobody-here/model")


def test_a_file_is_no_folder(source: Path) -> None:
    file = source / "model.safetensors"
    with pytest.raises(CheckpointError, match="is a file; expected a model folder"):
        resolve(file)


def test_an_empty_folder_is_no_checkpoint(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(CheckpointError, match="has no config.json; is it a checkpoint"):
        resolve(tmp_path)


def test_a_damaged_config_is_named(source: Path, cache: Path) -> None:
    (source / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="config.json cannot be read as JSON"):
        resolve(source)


# --- the hub ----------------------------------------------------------------------
# What is fetched, and how it is checked, is in tests/convert/test_download.py.


def answer_with(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> list[tuple[str, str | None]]:
    """Stand in for the hub; returns what will have been asked."""
    asked: list[tuple[str, str | None]] = []

    def download(repo_id: str, revision: str | None = None) -> Path:
        asked.append((repo_id, revision))
        return folder

    monkeypatch.setattr(resolve_module, "download", download)
    return asked


def test_a_hub_id_is_fetched_and_converted_once(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answer_with(monkeypatch, source)
    found = resolve("someone/FastVLM-0.5B", revision="v2")
    assert found.parent == cache
    assert found.name.startswith("someone--FastVLM-0.5B-")
    assert load_config(found).source == "someone/FastVLM-0.5B"
    assert asked == [("someone/FastVLM-0.5B", "v2")]
    assert resolve("someone/FastVLM-0.5B") == found


def test_a_converted_folder_of_the_hub_is_used_as_it_is(
    converted_golden: Callable[[str], Path],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = converted_golden("apple-train")
    answer_with(monkeypatch, folder)
    assert resolve("someone/model") == folder
    assert not cache.exists()
