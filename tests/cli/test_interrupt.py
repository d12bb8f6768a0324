"""Ctrl-C at any moment: status 130, one line, and no traceback."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

DEMO = str(Path(__file__).parents[2] / "docs" / "pictures" / "demo.png")
GENERATE = ["generate", "--quiet", "--image", DEMO, "--prompt", "Describe the picture."]
STOPPED = b"fastvlm-mlx: stopped\n"

PATIENCE = 60
"""Seconds until a process counts as hung."""


def start(
    code: str, *words: str, handler: signal.Handlers | Callable[..., object]
) -> "subprocess.Popen[bytes]":
    """Python code that runs the command at its end, as the command's own process."""
    code += "\nimport sys\nfrom fastvlm_mlx.cli import main\nsys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, handler),
    )


def ended(code: str, *words: str) -> tuple[int, bytes]:
    """Status and standard error of a command that stops itself."""
    process = start(code, *words, handler=signal.default_int_handler)
    _, err = process.communicate(timeout=PATIENCE)
    return process.returncode, err


AT_IMPORT = """
import os, signal, sys
def stop(event, arguments):
    if event == "import" and arguments[0] == {name!r}:
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(stop)
"""


@pytest.mark.parametrize(
    "module",
    [
        *("fastvlm_mlx.cli.command", "argparse", "fastvlm_mlx.cli.generate"),
        *("numpy", "PIL.Image", "fastvlm_mlx.images.decode", "mlx.core"),
        *("tokenizers", "jinja2", "fastvlm_mlx.fastvlm"),
    ],
)
def test_while_importing(module: str) -> None:
    assert ended(AT_IMPORT.format(name=module), *GENERATE) == (130, STOPPED)


SWALLOWED = """
import os, signal, time
from fastvlm_mlx import fastvlm
def load(*_, **__):
    os.kill(os.getpid(), signal.SIGINT)
    while True:
        try:
            time.sleep(1000)
        except BaseException:
            pass
fastvlm.load = load
"""

IN_C = """
import hashlib, os, signal, threading
from fastvlm_mlx import fastvlm
def load(*_, **__):
    stop = lambda: os.kill(os.getpid(), signal.SIGINT)
    threading.Timer(0.2, stop).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 30)
fastvlm.load = load
"""

TURNED = """
import os, signal, time
from fastvlm_mlx import fastvlm
def load(*_, **__):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1000)
    except KeyboardInterrupt:
        raise ImportError("numpy._core.multiarray failed to import")
fastvlm.load = load
"""

IN_A_CALLBACK = """
import os, signal, time
from fastvlm_mlx import fastvlm
class Callback:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
def load(*_, **__):
    Callback()
    time.sleep(1000)
fastvlm.load = load
"""

AT_THE_END = (
    """
import threading
threading.Thread(target=threading.Event().wait).start()  # Python waits for it
"""
    + TURNED
)


@pytest.mark.parametrize("code", [SWALLOWED, IN_C, TURNED, IN_A_CALLBACK, AT_THE_END])
def test_whatever_becomes_of_the_exception(code: str) -> None:
    assert ended(code, *GENERATE) == (130, STOPPED)


def test_a_second_time() -> None:
    code = SWALLOWED.replace(
        "    while True", "    os.kill(os.getpid(), 2)\n    while True"
    )
    assert ended(code, *GENERATE) == (130, STOPPED)


IN_NANOBIND = """
import enum, os, signal
replaced = enum.EnumType.__setattr__
def setattr(self, name, value):  # as nanobind calls it while mlx.core is imported
    if self.__name__ == "DeviceType":
        os.kill(os.getpid(), signal.SIGINT)
    replaced(self, name, value)
enum.EnumType.__setattr__ = setattr
"""


def test_while_a_library_in_c_is_imported() -> None:
    """It would abort: nanobind knows no other answer to an exception there."""
    assert ended(IN_NANOBIND, *GENERATE) == (130, STOPPED)


@pytest.mark.parametrize("moment", [0.25 * step for step in range(1, 8)])
def test_at_any_moment(moment: float) -> None:
    """Before the command's own first line Python prints a traceback, so it waits."""
    code = "import fastvlm_mlx.cli, os; os.write(1, b'begun')"
    process = start(code, *GENERATE, handler=signal.default_int_handler)
    assert process.stdout is not None
    assert os.read(process.stdout.fileno(), 5) == b"begun"
    time.sleep(moment)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    if process.returncode == 130:
        assert err == STOPPED
    else:  # the answer was there, or the process about to end with it
        assert process.returncode in (0, -signal.SIGINT)
        assert (out, err) == (b"A red circle.\n", b"")


def test_a_background_job_is_not_stopped() -> None:
    """Shells have it ignore Ctrl-C, which is meant for the job in front."""
    code = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)"
    process = start(code, *GENERATE, handler=signal.SIG_IGN)
    assert process.communicate(timeout=PATIENCE) == (b"A red circle.\n", b"")
    assert process.returncode == 0


@pytest.mark.parametrize("verb", ["batch", "evaluate", "convert"])
def test_verbs_that_keep_what_is_done_say_so(verb: str, tmp_path: Path) -> None:
    words = {
        "batch": ["batch", DEMO, str(tmp_path / "out.jsonl"), "--prompt", "x"],
        "evaluate": ["evaluate", "--task", "easy-vqa", "--out", str(tmp_path / "out")],
        "convert": ["convert", str(tmp_path), str(tmp_path / "out")],
    }[verb]
    code = AT_IMPORT.format(name="mlx.core")
    stopped = b"fastvlm-mlx: stopped; the same command goes on\n"
    assert ended(code, *words, "--quiet") == (130, stopped)


def test_a_program_that_calls_the_command_keeps_its_own_handler() -> None:
    code = (
        "import signal, sys\n"
        "from fastvlm_mlx.cli import main\n"
        "before = signal.getsignal(signal.SIGINT)\n"
        "main(['plan', 'nano', '--json'])\n"
        "assert signal.getsignal(signal.SIGINT) is before"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


MOMENTS = [0.05 * step for step in range(40)]


@pytest.mark.drills
@pytest.mark.parametrize("verb", ["generate", "chat", "batch", "convert"])
def test_forty_moments(
    verb: str, tmp_path: Path, golden_source: Callable[[str], Path]
) -> None:
    """From the command's first line to two seconds later; -s shows the slowest end."""
    words = {
        "generate": GENERATE,
        "chat": ["chat", "--quiet", DEMO],
        "batch": ["batch", "--quiet", "--prompt", "x", DEMO],
        "convert": ["convert", "--quiet", str(golden_source("apple-train"))],
    }[verb]
    slowest = 0.0
    for number, moment in enumerate(MOMENTS):
        out = [str(tmp_path / str(number))] if verb in ("batch", "convert") else []
        code = "import fastvlm_mlx.cli, os; os.write(1, b'begun')"
        process = start(code, *words, *out, handler=signal.default_int_handler)
        assert process.stdout is not None
        assert os.read(process.stdout.fileno(), 5) == b"begun"
        time.sleep(moment)
        pressed = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
        slowest = max(slowest, time.monotonic() - pressed)
        stopped = b"fastvlm-mlx: stopped" in err and err.count(b"\n") == 1
        ended = process.returncode in (0, -signal.SIGINT) and not err
        assert stopped and process.returncode == 130 or ended, (moment, err)
    print(f"{verb}: {len(MOMENTS)} moments, ended after {slowest:.2f} s at most")
