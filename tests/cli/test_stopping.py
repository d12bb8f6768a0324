"""Ctrl-C and readers that leave: exit codes without a traceback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command_line import run


def test_ctrl_c_is_130_without_a_traceback(model: str) -> None:
    """The signal comes when the first words are there."""
    words = ["generate", "--model", model, "--prompt", "x", "--max-tokens", "400"]
    words.append("--quiet")
    process = subprocess.Popen(
        # a stop that never comes, and no end token, so that there is time
        [sys.executable, "-c", ENDLESS, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert (process.returncode, err) == (130, b"fastvlm-mlx: stopped\n")


def test_ctrl_c_does_not_wait_for_a_picture(model: str, picture_file: Path) -> None:
    """A picture that takes for ever, and a model that is loaded before it."""
    words = ["generate", "--model", model, "--prompt", "x", "--image"]
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, *words, str(picture_file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"loaded\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"fastvlm-mlx: stopped\n")


STUCK = """
import sys, time
from fastvlm_mlx import cli, fastvlm
from fastvlm_mlx.images import image
image.prepare = lambda *_: time.sleep(1000)
load = fastvlm.load
def loaded(*arguments, **options):
    vlm = load(*arguments, **options)
    print("loaded", flush=True)
    return vlm
fastvlm.load = loaded
sys.exit(cli.main())
"""


ENDLESS = """
import sys, time
from fastvlm_mlx import cli
from fastvlm_mlx.generation.decode import DecodeOne
DecodeOne.step = lambda self: [(self.keys[0], 70)] if not time.sleep(0.05) else []
sys.exit(cli.main())
"""


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_reader_that_left_is_no_reason_for_a_traceback(
    ask: list[str], form: list[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run(*ask, *form, stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
