"""`fastvlm-mlx evaluate`: what it says, what it leaves, how it refuses."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fastvlm_mlx.cli import main
from fastvlm_mlx.cli.evaluate import summary_lines
from fastvlm_mlx.evaluate.tasks import TASKS


def evaluate(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments)])


@pytest.fixture
def data(tmp_path: Path, picture_file: Path) -> Path:
    path = tmp_path / "mine.jsonl"
    (tmp_path / "disc.png").write_bytes(picture_file.read_bytes())
    row = {"image": "disc.png", "question": "is there a circle?", "answer": "x"}
    path.write_text(f"{json.dumps(row)}\n" * 3)
    return path


def test_easy_vqa(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert evaluate("--task", "easy-vqa", "--limit", 4, "--out", out) == 0
    said = capsys.readouterr()
    assert said.out.startswith("easy-vqa: accuracy 100.00 % (51.01 to 100.00), 4 quest")
    assert "no figure for this model" in said.out
    assert str(out) in said.err
    names = {path.name for path in out.iterdir()}
    assert names == {"answers.jsonl", "records.jsonl", "summary.json"}


def test_json(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = data.parent / "out"
    given = ["--task", "plain", "--data", data, "--out", out, "--json", "--quiet"]
    assert evaluate(*given, "--resolution", 192, "--max-tokens", 2) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary == json.loads((out / "summary.json").read_text())
    assert summary["resolution"] == [192, 192] and summary["max_tokens"] == 2
    assert summary["questions"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "vqa"], "task is 'vqa'; expected one of textvqa, vqav2"),
        (["--task", "gqa"], "There is no data for gqa; expected --data PATH."),
        (["--task", "gqa", "--data", "nowhere"], "nowhere does not exist"),
        (["--task", "easy-vqa", "--limit", 0], "limit is 0"),
        (["--task", "easy-vqa", "--batch-size", 0], "batch_size is 0"),
        (["--task", "easy-vqa", "--resolution", "big"], "resolution is 'big'"),
        (["--task", "easy-vqa", "--split", "dev"], "no split dev"),
    ],
)
def test_refusals_are_one_line(
    arguments: list[object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(*arguments, "--quiet") == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_the_help_names_every_task(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        evaluate("--help")
    said = capsys.readouterr().out
    assert "95 % interval" in " ".join(said.split())
    for name in TASKS:
        assert re.search(rf"\b{name.replace('_', '-')}\b", said), name


def test_missing_columns(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--task", "docvqa", "--data", data, "--quiet") == 2
    said = capsys.readouterr().err
    assert "has no column answers; task docvqa needs question, answers" in said


def test_an_unreadable_picture(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data.write_text('{"image": "gone.jpg", "question": "?", "answer": "a"}\n')
    out = data.parent / "out"
    given = ["--task", "plain", "--data", data, "--out", out, "--quiet"]
    assert evaluate(*given) == 2
    said = capsys.readouterr().err
    assert "mine.jsonl, row 0: " in said and "gone.jpg" in said
    assert said.count("\n") == 1


def test_pictures_elsewhere(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data.parent / "photos").mkdir()
    (data.parent / "disc.png").rename(data.parent / "photos" / "disc.png")
    out, photos = data.parent / "out", data.parent / "photos"
    given = ["--task", "exact", "--data", data, "--out", out, "--quiet"]
    assert evaluate(*given, "--images", photos) == 0
    assert evaluate(*given, "--images", data) == 2
    assert "is no folder; expected one of image files" in capsys.readouterr().err


@pytest.mark.parametrize("limit", [12, pytest.param(40, marks=pytest.mark.drills)])
def test_ctrl_c_and_kill_keep_what_is_done(tmp_path: Path, limit: int) -> None:
    answers = tmp_path / "answers.jsonl"
    command = [sys.executable, "-m", "fastvlm_mlx", "evaluate", "--task", "easy-vqa"]
    command += ["--limit", str(limit), "--batch-size", "1", "--out", str(tmp_path)]
    command += ["--quiet"]
    for blow, code in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        before = answers.read_bytes() if answers.exists() else b""
        child = subprocess.Popen(command, stderr=subprocess.PIPE)
        while len(answers.read_bytes() if answers.exists() else b"") <= len(before):
            assert child.poll() is None
            time.sleep(0.01)
        os.kill(child.pid, blow)
        child.communicate()
        assert child.returncode == code
        assert answers.read_bytes().startswith(before)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{limit} questions" in done.stdout
    found = [json.loads(line)["id"] for line in answers.read_text().splitlines()]
    assert sorted(found) == list(range(limit))


def test_beside_the_paper() -> None:
    summary: dict[str, Any] = {
        "metric": "ANLS",
        "score": 78.0,
        "interval": [77.0, 79.0],
        "questions": 5349,
        "failed": 1,
        "paper": {
            "row": "R5",
            "score": 79.1,
            "difference": None,
            "model_card": {"score": 82.5},
            "notes": ["reported at 1024, measured at 512x512"],
        },
    }
    assert summary_lines(summary, "DocVQA") == [
        "DocVQA: ANLS 78.00 % (77.00 to 79.00), 5349 questions, 1 failed",
        "  paper (R5): 79.1 %, not comparable; reported at 1024, measured at 512x512",
        "  model card: 82.5 %; reported at 1024, measured at 512x512",
    ]
    summary["paper"] |= {"difference": -1.1, "notes": []}
    assert summary_lines(summary, "DocVQA")[1] == "  paper (R5): 79.1 %, -1.10 here"
