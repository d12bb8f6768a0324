"""`fastvlm-mlx benchmark`: a model measured beside the paper and the bound."""

import dataclasses
import json
from typing import Any

import pytest
from mlx.utils import tree_flatten

from benchmarks.memory import narrow
from fastvlm_mlx import cli
from fastvlm_mlx.cli.benchmark import _at_best
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.planning.cost import PEAKS, Peak
from fastvlm_mlx.planning.geometry import random_model
from fastvlm_mlx.planning.measure import Parts

Captured = pytest.CaptureFixture[str]


def test_benchmark_measures_a_model(model: str, capsys: Captured) -> None:
    words = ["benchmark", "--model", model, "--resolutions", "64", "128x64"]
    assert cli.main([*words, "--runs", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["64x64", "128x64"]
    assert all(float(cell) > 0 for cell in lines[2].split()[1:])


@pytest.mark.usefixtures("measured_at_once")
def test_benchmark_stands_beside_the_paper_and_the_bound(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(
        "fastvlm_mlx.planning.geometry.published_config", lambda *_: narrow(bits=4)
    )
    monkeypatch.setattr("fastvlm_mlx.cli.benchmark._machine", lambda: "Apple M1 Max")
    assert cli.main(["benchmark", "--resolutions", "1024", "--bits", "4"]) == 0
    out = capsys.readouterr().out
    ours, bound, paper, ultra, max_, *notes = out.splitlines()[2:]
    assert ours.split()[2:] == ["50.0", "116.6", "50.5", "217.1", "10.0"]
    assert bound.split()[1:3] == ["at", "best"]
    assert paper.split()[1:] == ["M1", "Max", "*", "116.3", "50.5", "166.8"]
    assert ultra.split()[1:] == ["M1", "Ultra", "+", "171.8", "3.5"]
    assert max_.split()[1:] == ["M5", "Max", "#", "107.1", "2.5"]
    assert [note.split(":")[0] for note in notes] == [
        "* Apple's paper",
        "+ mlxcel",
        "# mlxcel",
    ]
    assert all("2025" in note or "September 2026" in note for note in notes)


@pytest.mark.parametrize("tied", [True, False])
def test_the_bound_reads_every_weight_once(
    tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine of endless arithmetic and a byte per second. A table of embeddings
    that is no head is not read whole."""
    config = narrow()
    text = dataclasses.replace(config.text_config, tie_word_embeddings=tied)
    config = dataclasses.replace(config, text_config=text)
    model = random_model(config, mx.float32)
    monkeypatch.setattr("fastvlm_mlx.cli.benchmark._machine", lambda: "endless")
    monkeypatch.setitem(PEAKS, "endless", Peak(1e30, 1.0, "nobody's"))
    found = _at_best(config, model, Parts((64, 64), 25, 0.0, 0.0, 0.0, 0.0))
    table = 0 if tied else 4 * text.vocab_size * text.hidden_size
    sizes = [0, 0]
    for place, part in enumerate((model.vision_tower, model.language_model)):
        weights: dict[str, mx.array] = dict(tree_flatten(part.parameters()))
        sizes[place] = sum(array.nbytes for array in weights.values())
    assert found == (sizes[0], sizes[1] - table)


@pytest.mark.usefixtures("measured_at_once")
def test_benchmark_as_json_is_one_object(model: str, capsys: Captured) -> None:
    words = ["benchmark", "--model", model, "--resolutions", "64", "--json"]
    assert cli.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parts"][0]["encode"] == 0.1166


@pytest.mark.parametrize(
    "words",
    [
        ["--runs", "0"],
        ["--resolutions", "100"],
        ["--model", "missing"],
        ["--model", "nano", "--bits", "4"],
        ["--memory-limit", "100MB"],
    ],
)
def test_benchmark_refuses_in_one_line(words: list[str], capsys: Captured) -> None:
    assert cli.main(["benchmark", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1


@pytest.mark.usefixtures("measured_at_once")
def test_benchmark_can_be_stopped(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fastvlm_mlx.planning.measure.measure", stopped)
    assert cli.main(["benchmark", "--model", model]) == 130
    assert capsys.readouterr().err == "fastvlm-mlx: stopped\n"
