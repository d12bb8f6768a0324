"""`fastvlm-mlx models`: what is listed, and that nothing else is removed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fastvlm_mlx.cli import main
from fastvlm_mlx.paths import CACHE_VARIABLE
from fastvlm_mlx.resolve import resolve

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, not made yet."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    return tmp_path / "cache"


@pytest.fixture
def copy(golden_source: Callable[[str], Path], tmp_path: Path, cache: Path) -> Path:
    """A model that was converted on first use."""
    source = shutil.copytree(golden_source("apple-train"), tmp_path / "little")
    return resolve(source)


def test_nothing_was_converted_yet(cache: Path, capsys: Captured) -> None:
    assert main(["models"]) == 0
    assert capsys.readouterr().out == f"0 converted models, 0.0 MB, in {cache}\n"


def test_a_copy_is_listed(copy: Path, cache: Path, capsys: Captured) -> None:
    (cache / "photos").mkdir()
    assert main(["models"]) == 0
    headings, row, _, total, others = capsys.readouterr().out.splitlines()
    assert headings.split() == ["name", "source", "precision", "size", "last", "used"]
    assert row.startswith(f"{copy.name}  little  not quantized  ")
    assert total == f"1 converted model, {row.split('  ')[3].strip()}, in {cache}"
    assert others == "not made here, and left alone: photos"


def test_a_copy_of_a_source_that_is_gone_is_marked(
    copy: Path, tmp_path: Path, capsys: Captured
) -> None:
    shutil.rmtree(tmp_path / "little")
    assert main(["models"]) == 0
    assert "source gone or changed" in capsys.readouterr().out


def test_json_says_the_same(copy: Path, tmp_path: Path, capsys: Captured) -> None:
    assert main(["models", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (model,) = found["models"]
    assert (model["name"], model["source"]) == (copy.name, "little")
    assert model["bytes"] == sum(file.stat().st_size for file in copy.iterdir())
    assert model["source_folder"] == str(tmp_path / "little")
    assert model["source_unchanged"] is True


@pytest.mark.parametrize("whole", [True, False])
def test_a_copy_is_removed(
    copy: Path, cache: Path, tmp_path: Path, whole: bool, capsys: Captured
) -> None:
    assert main(["models", "rm", copy.name if whole else "litt"]) == 0
    assert f"removed {copy.name}" in capsys.readouterr().out
    assert [path.name for path in cache.iterdir() if path.is_dir()] == []
    assert (tmp_path / "little" / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["photos", "nothing", "", "../little", "li"])
def test_nothing_else_is_removed(
    copy: Path, cache: Path, tmp_path: Path, name: str, capsys: Captured
) -> None:
    shutil.copytree(copy, cache / ("live" + copy.name[6:]))
    (cache / "photos").mkdir()
    (cache / "photos" / "a.jpg").write_text("a photo")
    before = sorted(cache.rglob("*"))
    assert main(["models", "rm", name]) == 2
    assert sorted(cache.rglob("*")) == before
    assert (tmp_path / "little").is_dir()
    assert capsys.readouterr().err


def test_a_copy_that_holds_a_file_of_the_user_stays(
    copy: Path, capsys: Captured
) -> None:
    (copy / "thesis.txt").write_text("years of work")
    assert main(["models", "rm", copy.name]) == 1
    assert "it holds thesis.txt), so it is not removed" in capsys.readouterr().err
    assert (copy / "thesis.txt").read_text() == "years of work"
    assert (copy / "model.safetensors").is_file()


@pytest.mark.parametrize("words", [["rm"], ["list", "x"], ["remove", "x"]])
def test_words_that_make_no_sense(
    cache: Path, words: list[str], capsys: Captured
) -> None:
    try:
        code = main(["models", *words])
    except SystemExit as exit_:
        code = int(str(exit_.code))
    assert code == 2
    assert capsys.readouterr().err
