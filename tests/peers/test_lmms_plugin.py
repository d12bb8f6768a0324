"""lmms-eval runs a local task of its own with `--model fastvlm_mlx`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastvlm_mlx.evaluate.easy_vqa_rows import easy_vqa_rows
from fastvlm_mlx.evaluate.questions import read_questions
from fastvlm_mlx.evaluate.run import RECORDS, Run, evaluate
from fastvlm_mlx.evaluate.tasks import TASKS

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

pytest.importorskip("lmms_eval")

COUNT = 24

TASK = """
task: easy_vqa_here
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: generate_until
doc_to_visual: !function easy_vqa_columns.image
doc_to_text: "question"
doc_to_target: "answer"
generation_kwargs:
  max_new_tokens: 8
  temperature: 0
  do_sample: false
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
metadata:
  - version: 0.0
"""

COLUMNS = """
from PIL import Image


def image(doc):
    return [Image.open(doc["image"]).convert("RGB")]
"""


def run_theirs(folder: Path) -> subprocess.CompletedProcess[str]:
    words = ["--model", "fastvlm_mlx", "--model_args", "pretrained=nano,dtype=float32"]
    words += ["--tasks", "easy_vqa_here", "--include_path", str(folder)]
    words += [
        "--batch_size",
        "8",
        "--log_samples",
        "--output_path",
        str(folder / "out"),
    ]
    homes = {name: str(folder / "home") for name in ("HF_HOME", "LMMS_EVAL_HOME")}
    return subprocess.run(
        [sys.executable, "-m", "lmms_eval", *words],
        env={**os.environ, **homes, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        cwd=folder,
    )


def test_the_same_answers_and_the_same_figure(tmp_path: Path) -> None:
    table = easy_vqa_rows("test")
    lines = [json.dumps(row) for row in table.listed[:COUNT]]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "easy.yaml").write_text(TASK.format(data=tmp_path / "rows.jsonl"))
    (tmp_path / "easy_vqa_columns.py").write_text(COLUMNS)
    done = run_theirs(tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    from fastvlm_mlx import load

    questions = read_questions(TASKS["easy_vqa"], table, limit=COUNT)
    run = Run(vlm=load("nano", dtype="float32"), model="nano", options={})
    summary = evaluate(run, questions, tmp_path / "ours")

    (results,) = tmp_path.glob("out/**/*_results.json")
    figures = json.loads(results.read_text())["results"]["easy_vqa_here"]
    assert 100 * figures["exact_match,none"] == pytest.approx(
        summary["score"], abs=0.01
    )

    (samples,) = tmp_path.glob("out/**/*samples_easy_vqa_here.jsonl")
    told = [json.loads(line) for line in samples.read_text().splitlines()]
    theirs = {each["doc_id"]: each["filtered_resps"] for each in told}
    records = (tmp_path / "ours" / RECORDS).read_text().splitlines()
    ours = {each["row"]: each["answer"] for each in map(json.loads, records)}
    assert theirs == ours and len(ours) == COUNT
