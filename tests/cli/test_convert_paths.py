"""`fastvlm-mlx convert`, `inspect` and `quality`: what their words mean."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastvlm_mlx import cli
from fastvlm_mlx.errors import HubError
from fastvlm_mlx.model_folder import is_converted, load_config
from fastvlm_mlx.resolve import find_source

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def places(
    golden_source: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[Path, Path]:
    """The home folder and a folder called `~` in the current one, with unlike models.

    The home's reads 512 positions, the other one's 64.
    """
    home, here = tmp_path / "home", tmp_path / "here"
    for folder, length in ((home, 512), (here / "~", 64)):
        model = Path(shutil.copytree(golden_source("apple-train"), folder / "model"))
        values = json.loads((model / "config.json").read_text())
        values["tokenizer_model_max_length"] = length
        (model / "config.json").write_text(json.dumps(values))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    return home, here / "~"


def test_a_tilde_is_the_home_folder_where_it_comes_first(
    places: tuple[Path, Path], capsys: Captured
) -> None:
    home, here = places
    assert cli.main(["convert", "~/model", "~/out", "--quiet"]) == 0
    assert load_config(home / "out").max_length == 512
    assert cli.main(["convert", "./~/model", "./~/out", "--quiet"]) == 0
    assert load_config(here / "out").max_length == 64
    assert not (here / "~").exists()
    for typed, length in (("~/out", 512), ("./~/out", 64), ("~/model", 512)):
        capsys.readouterr()
        assert cli.main(["inspect", typed, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)["config"]
        assert found["max_length"] == length


def test_a_tower_is_found_as_typed(places: tuple[Path, Path], capsys: Captured) -> None:
    assert cli.main(["convert", "~/model", "out", "--tower", "./~/model"]) == 2
    assert "has its own vision tower" in capsys.readouterr().err


def test_two_models_are_compared_as_typed(
    places: tuple[Path, Path], capsys: Captured
) -> None:
    for typed in ("~/", "./~/"):
        assert cli.main(["convert", f"{typed}model", f"{typed}out", "--quiet"]) == 0
    words = ["quality", "~/out", "./~/out", "--samples", "1", "--json", "--quiet"]
    capsys.readouterr()
    assert cli.main(words) == 0
    assert json.loads(capsys.readouterr().out)["kl_divergence"] < 1e-6


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would have been downloaded."""
    asked: list[Any] = []

    def download(repo_id: str, **options: Any) -> Path:
        asked.append((repo_id, options))
        raise HubError("enough")

    monkeypatch.setattr("convert.download", download)
    monkeypatch.setattr("fastvlm_mlx.convert.download", download)
    return asked


def test_short_names_are_hub_ids(fetched: list[Any], tmp_path: Path) -> None:
    assert cli.main(["convert", "0.5b", str(tmp_path / "out"), "--offline"]) == 1
    assert cli.main(["inspect", "1.5B", "--revision", "v2"]) == 1
    assert fetched == [
        ("apple/FastVLM-0.5B", {"revision": None, "offline": True}),
        ("apple/FastVLM-1.5B", {"revision": "v2"}),
    ]


def test_a_short_name_with_bits_is_no_original(
    fetched: list[Any], tmp_path: Path, capsys: Captured
) -> None:
    assert cli.main(["convert", "0.5b-4bit", str(tmp_path / "out")]) == 2
    assert "add --bits 4" in capsys.readouterr().err
    assert fetched == []


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c", "x" * 5000, "~nobody/x"])
@pytest.mark.parametrize("verb", ["convert", "inspect"])
def test_a_name_that_leads_nowhere_is_shortened(
    verb: str, name: str, tmp_path: Path, capsys: Captured
) -> None:
    out = [str(tmp_path / "out")] if verb == "convert" else []
    assert cli.main([verb, name, *out]) == 2
    said = capsys.readouterr().err
    assert "is not a folder; expected a checkpoint folder" in said
    assert len(said) < 250


def test_a_target_with_an_impossible_name(
    golden_source: Callable[[str], Path], capsys: Captured
) -> None:
    source = str(golden_source("apple-train"))
    assert cli.main(["convert", source, "x" * 5000]) == 1
    said = capsys.readouterr().err
    assert "cannot be written: File name too long" in said
    assert len(said) < 400


def test_nano_is_its_own_source(tmp_path: Path) -> None:
    assert is_converted(find_source("nano"))


def test_a_quantized_folder_is_quantized_again_and_that_is_said(
    golden_source: Callable[[str], Path], tmp_path: Path, capsys: Captured
) -> None:
    four, eight = tmp_path / "four", tmp_path / "eight"
    source = str(golden_source("apple-train"))
    words = ["--quiet", "--quality-samples", "1", "--group-size", "32"]
    assert cli.main(["convert", source, str(four), "--bits", "4", *words]) == 0
    capsys.readouterr()
    assert cli.main(["convert", str(four), str(eight), "--bits", "8", *words]) == 0
    said = capsys.readouterr().out
    assert "quantized layers, unpacked" in said
    assert "quantizing again loses more" in said
    assert "KL divergence" in said
    assert load_config(eight).quantization is not None
