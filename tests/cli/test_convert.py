"""`fastvlm-mlx convert`: what it says, writes and refuses."""

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fastvlm_mlx
from fastvlm_mlx import cli

Captured = pytest.CaptureFixture[str]


def test_convert_says_what_it_did(
    golden_source: Callable[[str], Path], tmp_path: Path, capsys: Captured
) -> None:
    output = tmp_path / "out"
    assert cli.main(["convert", str(golden_source("apple-train")), str(output)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{output}\n  read ")
    for part in ("dropped", "written", "M parameters", "bits per weight"):
        assert part in out
    assert err == ""
    assert fastvlm_mlx.load(output).engine.config.source.endswith("apple-train")


def test_convert_quantizes(
    golden_source: Callable[[str], Path], tmp_path: Path, capsys: Captured
) -> None:
    words = ["convert", str(golden_source("apple-train")), str(tmp_path / "out")]
    options = ["--bits", "4", "--group-size", "32", "--head-bits", "16"]
    assert cli.main([*words, *options, "--dtype", "float16"]) == 0
    quantization = fastvlm_mlx.load(tmp_path / "out").engine.config.quantization
    assert quantization is not None
    assert (quantization.bits, quantization.group_size) == (4, 32)
    out = capsys.readouterr().out
    assert re.search(r"quality +KL divergence \S+ nats per token, \S+ at most\n", out)
    assert "in 32 answers about images" in out


def test_convert_says_what_it_did_not_quantize_or_judge(
    golden_source: Callable[[str], Path], tmp_path: Path, capsys: Captured
) -> None:
    words = ["convert", str(golden_source("apple-train")), str(tmp_path / "out")]
    assert cli.main([*words, "--tower-bits", "8", "--no-quality"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"left +\d+ matrices whole, whose rows the groups do not", out)
    assert "- vision_tower.stem.pointwise.weight: rows of 8, groups of 64" in out
    assert "quality   not measured: switched off" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--group-size", "32"], "Nothing would be quantized"),
        (["--bits", "4", "--recipe", "mixed-4-6"], "--recipe has its own bits"),
        (["--recipe", "best"], "expected one of mixed-2-6"),
        (["--recipe", "mixed-3-4", "--llm-bits", "4"], "its own bits"),
        (["--mode", "mxfp4", "--bits", "8"], "mxfp4 has 4"),
        (["--mode", "nvfp4", "--group-size", "64"], "nvfp4 has groups of 16"),
        (["--mode", "mxfp8", "--calibrate"], "Calibrating is for"),
        (["--calibrate"], "Calibrating is for"),
        (["--bits", "4", "--quality-samples", "0"], "0 samples; expected 1 to 256"),
        (["--bits", "4", "--quality-samples", "999"], "999 samples; expected 1 to"),
    ],
)
def test_convert_refuses_contradictions_before_anything_is_read(
    tmp_path: Path, capsys: Captured, options: list[str], message: str
) -> None:
    out = tmp_path / "out"
    assert cli.main(["convert", "some/hub-id", str(out), *options]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_convert_does_not_overwrite_unasked(
    golden_source: Callable[[str], Path], tmp_path: Path, capsys: Captured
) -> None:
    words = ["convert", str(golden_source("apple-train")), str(tmp_path / "out")]
    assert cli.main(words) == 0
    assert cli.main(words) == 2
    err = capsys.readouterr().err
    assert "is there already. Choose another folder, or --overwrite it" in err
    assert cli.main([*words, "--overwrite"]) == 0


@pytest.mark.parametrize(
    "source", ["missing", "/missing/model", "/dev/null", "~nobody-here"]
)
def test_convert_needs_a_checkpoint(
    tmp_path: Path, capsys: Captured, source: str
) -> None:
    assert cli.main(["convert", source, str(tmp_path / "out")]) == 2
    assert "is not a folder; expected a checkpoint folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_convert_fetches_hub_ids(
    golden_source: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {}

    def download(repo_id: str, **options: Any) -> Path:
        asked[repo_id] = options
        return golden_source("apple-train")

    converter = importlib.import_module("fastvlm_mlx.convert")
    monkeypatch.setattr(converter, "download", download)
    words = ["convert", "some/model", str(tmp_path / "out"), "--revision", "v2"]
    assert cli.main([*words, "--tower", "some/tower", "--offline"]) == 2
    assert asked == {
        "some/model": {"offline": True, "revision": "v2"},
        "some/tower": {"offline": True, "only_tower": True},
    }
    assert cli.main(words) == 0


def test_convert_without_writing(
    golden_source: Callable[[str], Path], tmp_path: Path, capsys: Captured
) -> None:
    words = ["convert", str(golden_source("apple-train")), str(tmp_path / "out")]
    assert cli.main([*words, "--dry-run"]) == 0
    assert "(nothing is written)" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_convert_to_mlx_vlm(
    golden_source: Callable[[str], Path], tmp_path: Path, capsys: Captured
) -> None:
    words = ["convert", str(golden_source("apple-train")), str(tmp_path / "out")]
    assert cli.main([*words, "--to", "mlx-vlm"]) == 0
    assert (tmp_path / "out" / "processor_config.json").is_file()
    assert cli.main(["inspect", str(tmp_path / "out")]) == 0
    assert "layout      mlx_vlm: mlx-vlm" in capsys.readouterr().out


def test_convert_uploads(
    golden_source: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    converter = importlib.import_module("fastvlm_mlx.convert")
    monkeypatch.setattr(
        converter, "upload", lambda folder, repo: f"{repo}/{folder.name}"
    )
    words = ["convert", str(golden_source("apple-train")), str(tmp_path / "out")]
    assert cli.main([*words, "--upload", "me/mine"]) == 0
    assert "uploaded  me/mine/out" in capsys.readouterr().out


@pytest.mark.parametrize("options", [["nobody"], ["a/b", "--dry-run"]])
def test_convert_refuses_an_upload_that_cannot_be(
    tmp_path: Path, capsys: Captured, options: list[str]
) -> None:
    words = ["convert", "some/model", str(tmp_path / "out"), "--upload"]
    assert cli.main([*words, *options]) == 2
    assert "--upload" in capsys.readouterr().err
