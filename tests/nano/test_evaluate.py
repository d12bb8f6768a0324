"""The report: what is asked, how it is counted, and that the shipped model answers."""

import json
from pathlib import Path

import pytest

pytest.importorskip("easy_vqa")

from benchmarks.measuring import drawable
from benchmarks.nano import evaluate
from benchmarks.nano.data.easy_vqa import EASY
from benchmarks.nano.data.mixture import held_out_scenes
from benchmarks.nano.data.tasks.scene import Question, Scene
from benchmarks.nano.report import measure
from benchmarks.nano.report.accuracy import Accuracy
from benchmarks.nano.report.evaluation_plot import (
    latency_curve,
    plot_report,
    resolution_curves,
)
from benchmarks.nano.report.measure import answer_scenes
from fastvlm_mlx import FastVLM, load

IMAGES = 4


@pytest.fixture(scope="module")
def vlm() -> FastVLM:
    return load("nano", dtype="float32")


@pytest.fixture(scope="module")
def easy() -> list[Scene]:
    return held_out_scenes(EASY, IMAGES)


def test_batched_answers_are_those_of_the_engine(
    vlm: FastVLM, easy: list[Scene]
) -> None:
    side = vlm.engine.config.vision_config.image_size[0]
    for scene in easy:
        batched = dict(answer_scenes(vlm, [scene], side))
        for asked in scene.questions[:3]:
            alone = vlm.generate(scene.image, asked.text, image_mode="pad")
            assert batched[asked] == alone.text


def test_only_exact_answers_are_right(vlm: FastVLM, easy: list[Scene]) -> None:
    side = vlm.engine.config.vision_config.image_size[0]
    answers = dict(answer_scenes(vlm, easy[:1], side))
    asked, text = next(iter(answers.items()))
    image = easy[0].image
    right = Scene(image, (Question(asked.text, text, "a/right"),), ())
    wrong = Scene(image, (Question(asked.text, text + ".", "a/wrong"),), ())
    scores = measure.evaluate(vlm, [right, wrong], side)
    assert scores == {"a/right": Accuracy(1, 1), "a/wrong": Accuracy(0, 1)}
    assert measure.task_accuracy(scores) == Accuracy(1, 2)


def test_the_report_can_be_stored_and_drawn(
    vlm: FastVLM, easy: list[Scene], tmp_path: Path
) -> None:
    measured = measure.measure(vlm, {"easy-vqa": easy}, [64, 128])
    report = {"benchmark": "nano", "precisions": {"float32": measured}}
    assert json.loads(json.dumps(report)) == report
    curve = resolution_curves(measured)["easy-vqa"]
    assert [pixels for pixels, _ in curve] == [64, 128]
    low, high = curve[0][1]["interval"]
    assert low <= curve[0][1]["percent"] <= high
    assert len(latency_curve(measured)) == 2
    pytest.importorskip("matplotlib")
    plot_report(report, tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes()[1:4] == b"PNG"


def test_what_cannot_be_drawn_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawable, "find_spec", lambda _: None)
    monkeypatch.setattr("sys.argv", ["evaluate", "--out", str(tmp_path / "a.json")])
    with pytest.raises(SystemExit, match="needs matplotlib: pip install"):
        evaluate.main()
