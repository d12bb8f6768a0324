"""`fastvlm-mlx batch` as a person types it."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fastvlm_mlx import FastVLM, cli

QUESTION = "What is in this picture?"

Batch = Callable[..., int]
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


@pytest.fixture
def words(converted_golden: Callable[[str], Path], output: Path) -> list[str]:
    """What follows the inputs."""
    model = str(converted_golden("fast_vlm-train"))
    return [str(output), "--model", model, "--resolution", "64", "--max-tokens", "4"]


@pytest.fixture
def batch(words: list[str]) -> Batch:
    """Run the command here; its exit code."""

    def run(*inputs: object, more: Sequence[str] = ()) -> int:
        return cli.main(["batch", *map(str, inputs), *words, *more])

    return run


@pytest.fixture
def source(tmp_path: Path, picture_file: Path) -> Path:
    """A job in which one picture is missing."""
    shutil.copy(picture_file, tmp_path / "disc.png")
    lines = [
        {"id": "seen", "prompt": QUESTION, "images": ["disc.png"]},
        {"id": "lost", "prompt": QUESTION, "images": ["lost.png"]},
        {"id": "long", "prompt": "Say it.", "max_tokens": 9},
    ]
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def answers(output: Path) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    found = {str(line["id"]): line for line in lines}
    assert len(found) == len(lines)
    return found


def test_a_file_of_requests(
    batch: Batch,
    source: Path,
    output: Path,
    vlm: FastVLM,
    picture_file: Path,
    capsys: Captured,
) -> None:
    assert batch(source) == 1  # since one failed
    found = answers(output)
    expected = vlm.generate(picture_file, QUESTION, resolution=64, max_tokens=4)
    assert found["seen"]["text"] == expected.text
    assert found["long"]["tokens"] == 9
    assert "does not exist" in found["lost"]["error"]
    out, err = capsys.readouterr()
    assert out == ""
    assert "3 lines, 1 with an error; 3 in" in err


def test_each_line_has_its_own_dial(
    batch: Batch, picture_file: Path, tmp_path: Path, output: Path
) -> None:
    """The command's settings, where a line has none of its own."""
    asked = {"prompt": QUESTION, "images": [str(picture_file)]}
    lines = [
        {"id": "views", **asked},
        {"id": "frame", **asked, "resolution": 192, "keep_aspect": True},
        {"id": "auto", **asked, "resolution": "auto", "anyres": False},
        {"id": "less", **asked, "resolution": "auto", "max_visual_tokens": 3},
    ]
    path = tmp_path / "dials.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    assert batch(path, more=["--anyres"]) == 1
    found = answers(output)
    assert "takes 20 at the smallest" in found.pop("less")["error"]
    seen = {
        name: (*line["images"][0].values(), line["outside_training"])
        for name, line in found.items()
    }
    assert seen == {
        "views": ([64, 64], 5, 5, True, True),
        "frame": ([128, 192], 5, 30, True, True),
        "auto": ([128, 128], 1, 4, False, False),
    }


def test_the_same_command_again(
    batch: Batch, source: Path, output: Path, capsys: Captured
) -> None:
    batch(source)
    before = output.read_bytes()
    assert batch(source) == 1
    assert output.read_bytes() == before
    assert "3 lines, 3 from earlier runs, 1 with an error; 0 in" in (
        capsys.readouterr().err
    )


def test_pictures_and_one_question(
    batch: Batch, tmp_path: Path, picture_file: Path, output: Path, capsys: Captured
) -> None:
    for name in ("a.png", "b.png"):
        shutil.copy(picture_file, tmp_path / name)
    more = ["--prompt", QUESTION, "--quiet"]
    assert batch(tmp_path / "*.png", more=more) == 0
    assert answers(output).keys() == {str(tmp_path / n) for n in ("a.png", "b.png")}
    assert batch(tmp_path, more=more) == 0  # the folder holds the same pictures
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("inputs", "more", "message"),
    [
        (["in.jsonl"], ["--batch-size", "0"], "batch_size is 0"),
        (["in.jsonl"], ["--top-p", "7"], "line 1: top_p is 7"),
        (["in.jsonl", "disc.png"], [], "came with other inputs"),
        (["disc.png"], [], "expected --prompt"),
        (["none.jsonl"], [], "No such file"),
        (["*.gif"], ["--prompt", "a"], "holds no image"),
        (["out.jsonl"], [], "is input and output"),
    ],
)
def test_what_is_refused(
    batch: Batch,
    source: Path,
    output: Path,
    inputs: list[str],
    more: list[str],
    message: str,
    capsys: Captured,
) -> None:
    assert batch(*(source.parent / name for name in inputs), more=more) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert not output.exists()


def test_what_a_folder_holds_besides_is_named_once(
    batch: Batch, words: list[str], picture_file: Path, capsys: Captured
) -> None:
    """The answers themselves are not."""
    folder = Path(words[0]).parent / "photos"
    folder.mkdir()
    shutil.copy(picture_file, folder / "disc.png")
    for number in range(12):
        (folder / f"note{number:02}.txt").touch()
    (folder / "more").mkdir()
    words[0] = str(folder / "out.jsonl")
    more = ["--prompt", QUESTION]
    for _ in range(2):
        assert batch(folder, more=more) == 0
        err = capsys.readouterr().err
        assert err.count("13 files left out: ") == 1
        assert "/more/, " in err and "/note00.txt, " in err
        assert "note08.txt and 3 more\n" in err and "out.jsonl" not in err
    assert batch(folder, more=[*more, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_an_output_in_no_folder(source: Path, words: list[str]) -> None:
    words = [str(source.parent / "none" / "out.jsonl"), *words[1:]]
    assert cli.main(["batch", str(source), *words]) == 1


def test_ctrl_c_keeps_what_is_done(
    tmp_path: Path, words: list[str], output: Path
) -> None:
    source = tmp_path / "in.jsonl"
    lines = [json.dumps({"prompt": f"Number {n}?"}) for n in range(3000)]
    source.write_text("\n".join(lines))
    command = [sys.executable, "-m", "fastvlm_mlx", "batch", str(source), *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while not output.exists() or not output.stat().st_size:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert err.endswith(b"fastvlm-mlx: stopped; the same command goes on\n")
    assert 0 < len(answers(output)) < 3000
    assert output.read_bytes().endswith(b"\n")


def test_progress_on_a_terminal(source: Path, words: list[str]) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    command = [sys.executable, "-m", "fastvlm_mlx", "batch", str(source), *words]
    with subprocess.Popen(command, stderr=theirs) as process:
        process.wait()
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "/3 [" in shown
