"""python -m benchmarks.curve, with the embedded model and accuracies made up."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.curve import __main__ as curve
from benchmarks.curve.drawing import draw_curve
from benchmarks.curve.latency import first_token_job
from benchmarks.curve.setting import Setting
from benchmarks.measuring import drawable
from fastvlm_mlx import load
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.model.fastvlm import FastVLMModel


def item(method: str, resolution: int, accuracy: float) -> dict[str, Any]:
    return {
        "resolution": resolution,
        "method": method,
        "accuracy": accuracy,
        "samples": 10,
        "interval": [accuracy - 5, accuracy + 5],
    }


@pytest.fixture
def accuracies(tmp_path: Path) -> Path:
    file = tmp_path / "accuracies.json"
    made_up = [item("static", 64, 40), item("static", 128, 60), item("anyres", 128, 30)]
    file.write_text(json.dumps(made_up), encoding="utf-8")
    return file


def test_table_results_and_picture(
    accuracies: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The times are made up too, so that the front is known."""
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(curve, "first_token_seconds", lambda *_: [0.01, 0.02, 0.05])
    out = tmp_path / "curve.png"
    monkeypatch.setattr("sys.argv", ["curve", "nano", str(accuracies), f"--out={out}"])
    curve.main()
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines[2:] == [
        "| static | 64 | 1 | 10 ms | 40.0 % | 35.0-45.0 | 10 | * |",
        "| static | 128 | 4 | 20 ms | 60.0 % | 55.0-65.0 | 10 | * |",
        "| anyres | 128 | 5 | 50 ms | 30.0 % | 25.0-35.0 | 10 |  |",
    ]
    results = json.loads(last)["results"]
    assert [each["front"] for each in results["points"]] == [True, True, False]
    assert out.read_bytes()[1:4] == b"PNG"
    draw_curve(results, tmp_path / "again.png")  # as benchmarks.measuring.plots does
    assert (tmp_path / "again.png").read_bytes() == out.read_bytes()


def test_what_cannot_be_drawn_is_refused_before_anything_is_measured(
    accuracies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawable, "find_spec", lambda _: None)
    monkeypatch.setattr("sys.argv", ["curve", "nano", str(accuracies)])
    with pytest.raises(SystemExit, match="needs matplotlib: pip install"):
        curve.main()


def test_sides_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SystemExit, match="^anyres 192 does not fit"):
        curve.require_fit([Setting("static", 192), Setting("anyres", 192)], 64)


def test_a_job_reads_all_tokens_and_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    vlm, prefill, read = load("nano"), FastVLMModel.prefill, []

    def watched(model: FastVLMModel, embeds: mx.array, cache: Any) -> mx.array:
        read.append(embeds.shape[1])
        return prefill(model, embeds, cache)

    monkeypatch.setattr(FastVLMModel, "prefill", watched)
    for setting in (Setting("static", 128), Setting("anyres", 256)):
        first_token_job(vlm.engine.model, setting)()
    assert read == [4 + 24, 20 + 24]
