"""Standard streams that are closed, full, or begin with a byte order mark."""

import io
import itertools
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastvlm_mlx import cli
from fastvlm_mlx.cli.terminal import open_streams

DEMO = str(Path(__file__).parents[2] / "docs" / "pictures" / "demo.png")
COLOUR = "what color is the circle?"
MARK = b"\xef\xbb\xbf"

GENERATE = ["generate", "--image", DEMO, "--prompt", COLOUR]

Captured = pytest.CaptureFixture[str]
Done = subprocess.CompletedProcess[bytes]

pytestmark = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="this system has no /dev/full"
)


def run(words: list[str], redirections: str = "", **options: Any) -> Done:
    """The command in a process of its own, as a shell starts it."""
    command = shlex.join([sys.executable, "-m", "fastvlm_mlx", *words])
    given = {"stdin": subprocess.DEVNULL, "capture_output": True, **options}
    done: Done = subprocess.run(["bash", "-c", f"{command} {redirections}"], **given)
    return done


# --- closed -----------------------------------------------------------------------

CLOSED = [
    " ".join(closed)
    for count in (1, 2, 3)
    for closed in itertools.combinations(("<&-", ">&-", "2>&-"), count)
]


@pytest.mark.parametrize("closed", CLOSED)
def test_an_answer_whatever_is_closed(closed: str) -> None:
    done = run([*GENERATE, "--json"], closed)
    assert done.returncode == 0
    if ">&-" in closed.split():
        assert done.stdout == b""
    else:
        assert json.loads(done.stdout)["text"] == "red"
    expected = b"" if "2>&-" in closed else b"using the embedded nano"
    assert expected in done.stderr and done.stderr.count(b"\n") == bool(expected)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("verb", ["batch", "convert", "evaluate", "chat", "plan"])
def test_every_verb_does_its_work(
    closed: str, verb: str, tmp_path: Path, golden_source: Callable[[str], Path]
) -> None:
    data = tmp_path / "in.jsonl"
    row = {"image": DEMO, "question": COLOUR, "answer": "red"}
    data.write_text(json.dumps(row) + "\n")
    out = tmp_path / "out"
    images = ["--images", str(Path(DEMO).parent)]
    words = {
        "batch": ["batch", DEMO, str(out), "--prompt", COLOUR],
        "convert": ["convert", str(golden_source("apple-train")), str(out)],
        "evaluate": ["evaluate", "--task", "plain", "--data", str(data), *images],
        "chat": ["chat", DEMO],
        "plan": ["plan", "nano", "--json"],
    }[verb]
    done = run(words, closed, cwd=tmp_path)
    assert (done.returncode, b"Error" in done.stderr) == (0, False), done.stderr
    if verb == "batch":
        assert json.loads(out.read_text())["text"] == "red"
    if verb == "convert":
        assert (out / "config.json").is_file()
    if verb == "plan" and ">&-" not in closed.split():
        assert json.loads(done.stdout)


@pytest.mark.parametrize("redirection", ["<&-", "0>x"])
@pytest.mark.parametrize("option", ["--image", "--prompt"])
def test_nothing_to_read_is_one_clear_error(
    redirection: str, option: str, tmp_path: Path
) -> None:
    words = ["generate", "--prompt", "x", "--quiet", option, "-"]
    done = run(words, redirection, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b" is empty; expected" in done.stderr or b"cannot be read" in done.stderr


def test_no_file_takes_the_place_of_a_closed_stream() -> None:
    """What is printed would else end up in the first file that is opened."""
    code = (
        "import os; [os.close(n) for n in range(3)];"
        "from fastvlm_mlx.cli.terminal import open_streams; open_streams();"
        "file = open('there', 'w'); print('lost'); file.close();"
        "assert file is not None and os.path.getsize('there') == 0"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path.cwd())
    Path("there").unlink(missing_ok=True)
    assert done.returncode == 0


# --- full -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        GENERATE,
        [*GENERATE, "--json"],
        ["--help"],
        ["generate", "--help"],
        ["--version"],
        ["completion", "zsh"],
        ["plan", "nano"],
        ["chat", DEMO],
    ],
)
def test_a_full_disk_behind_standard_output(words: list[str]) -> None:
    done = run([*words], ">/dev/full", stdin=None, input=COLOUR.encode())
    lines = done.stderr.splitlines()
    assert done.returncode == 1
    assert lines[-1] == (
        b"fastvlm-mlx: The answer cannot be written: No space left on device."
    )
    assert b"Traceback" not in done.stderr and b"Exception" not in done.stderr


def test_remarks_that_cannot_be_written_are_not_missed() -> None:
    done = run([*GENERATE, "--stats"], "2>/dev/full")
    assert (done.returncode, done.stdout) == (0, b"red\n")
    done = run(["generate", "--image", "nowhere.png", "--prompt", "x"], "2>/dev/full")
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize("words", [["--help"], ["help", "convert"], ["plan", "nano"]])
def test_a_reader_that_left(words: list[str]) -> None:
    done = run(words, "| true; exit ${PIPESTATUS[0]}")
    assert done.returncode in (0, 1)  # it may be done before the reader leaves
    assert (done.stdout, done.stderr) == (b"", b"")


def test_the_name_of_a_file_is_not_obeyed_by_a_terminal(capsys: Captured) -> None:
    assert cli.main(["generate", "--image", "\x1b[2J\x07.png", "--prompt", "x"]) == 2
    assert "\x1b" not in (err := capsys.readouterr().err)
    assert "\ufffd[2J\ufffd.png does not exist" in err


# --- a byte order mark ------------------------------------------------------------


def give_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stdin)


def test_a_mark_is_no_part_of_the_first_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    lines = f"/image {DEMO}\r\n{COLOUR}\r\n".encode()
    for data in (lines, MARK + lines):
        give_stdin(monkeypatch, data)
        assert cli.main(["chat", "--quiet"]) == 0
        assert capsys.readouterr() == ("red\n", "")


def test_a_mark_is_no_part_of_a_question(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    found = []
    for data in (b"hello", MARK + b"hello\n", MARK + MARK + b"hello"):
        give_stdin(monkeypatch, data)
        words = ["generate", "--prompt", "-", "--quiet", "--json", "--max-tokens", "1"]
        assert cli.main(words) == 0
        found.append(json.loads(capsys.readouterr().out)["prompt_tokens"])
    assert found[0] == found[1] < found[2]  # one mark, and no more than that


def test_bytes_keep_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    give_stdin(monkeypatch, MARK + b"\x00")
    open_streams()
    assert sys.stdin.buffer.read() == MARK + b"\x00"


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", ""])
def test_text_is_utf_8_in_every_locale(locale: str) -> None:
    environment = {
        **os.environ,
        "LC_ALL": locale,
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    words = ["generate", "--prompt", "-", "--quiet", "--json", "--max-tokens", "1"]
    counts = [
        json.loads(run(words, stdin=None, input=data, env=environment).stdout)
        for data in ("é".encode(), MARK + "é".encode())
    ]
    assert counts[0]["prompt_tokens"] == counts[1]["prompt_tokens"]
    broken = run(words, stdin=None, input=b"\xe9", env=environment)
    assert broken.returncode == 2
    assert b"The standard input is not valid UTF-8; expected text." in broken.stderr
