"""Exported scenes: both programs that measure get the same answers and judge alike."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("easy_vqa")

from benchmarks.nano.data.easy_vqa import EASY
from benchmarks.nano.data.mixture import held_out_scenes
from benchmarks.nano.export import LINES, export
from benchmarks.nano.report.measure import answer_scenes, evaluate, task_accuracy
from fastvlm_mlx import FastVLM, load
from fastvlm_mlx.evaluate.questions import read_questions
from fastvlm_mlx.evaluate.run import RECORDS, Run
from fastvlm_mlx.evaluate.run import evaluate as evaluate_files
from fastvlm_mlx.evaluate.source import open_table
from fastvlm_mlx.evaluate.tasks import TASKS


@pytest.fixture(scope="module")
def vlm() -> FastVLM:
    return load("nano", dtype="float32")


@pytest.mark.parametrize(("task", "images"), [("shapes", 8), ("text", 4), (EASY, 3)])
@pytest.mark.parametrize(
    "resolution", [128, pytest.param(256, marks=pytest.mark.drills)]
)
def test_both_programs_agree(
    task: str, images: int, resolution: int, vlm: FastVLM, tmp_path: Path
) -> None:
    scenes = held_out_scenes(task, images)
    answers = list(answer_scenes(vlm, scenes, resolution))
    scores = evaluate(vlm, scenes, resolution)

    assert export(scenes, tmp_path) == len(answers)
    exact = TASKS["exact"]
    questions = read_questions(exact, open_table(tmp_path, exact))
    run = Run(vlm=vlm, model="nano", options={"resolution": resolution})
    summary = evaluate_files(run, questions, tmp_path / "out")

    records = (tmp_path / "out" / RECORDS).read_text("utf-8").splitlines()
    ours = [json.loads(line) for line in records]
    assert sorted((r["prompt"], r["truth"], r["answer"]) for r in ours) == sorted(
        (asked.text, asked.answer, answer) for asked, answer in answers
    )
    assert summary["right"] == task_accuracy(scores).right
    assert summary["questions"] == task_accuracy(scores).asked
    groups = summary["groups"].items()
    assert {kind: (each["right"], each["questions"]) for kind, each in groups} == {
        kind: (score.right, score.asked) for kind, score in scores.items()
    }


def test_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.nano.export", "--task", "shapes"]
    command += ["--count", "3", "--out", str(tmp_path / "new")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("3 images, ")
    assert len(list((tmp_path / "new").glob("*.png"))) == 3
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 1 and again.stderr.count("\n") == 1
    assert f"{LINES} exists; choose another folder" in again.stderr
