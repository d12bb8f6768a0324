"""The command as a person types it: start, exit codes, never a traceback."""

import subprocess
import sys
from typing import Any

import pytest

import fastvlm_mlx
from fastvlm_mlx import cli, fastvlm
from tests.cli.command_line import run

Captured = pytest.CaptureFixture[str]


# --- what starting costs ----------------------------------------------------------


@pytest.mark.parametrize("module", ["fastvlm_mlx", "fastvlm_mlx.cli"])
def test_importing_does_not_wait_for_libraries(module: str) -> None:
    """`--help` is asked for more often than anything else."""
    heavy = "{'mlx', 'mlx.core', 'numpy', 'PIL', 'jinja2', 'tokenizers', 'tqdm'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"


@pytest.mark.parametrize(
    "verb",
    [
        [],
        ["generate"],
        ["chat"],
        ["convert"],
        ["plan"],
        ["doctor"],
        ["benchmark"],
    ],
)
def test_help_goes_to_standard_output(verb: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*verb, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: fastvlm-mlx")


def test_version(capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"{fastvlm_mlx.__version__}\n"


# --- errors -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["speak"],
        ["chat", "--prompt", "x"],
        ["generate", "--prompt", "x", "--max-tokens", "many"],
        ["generate", "--prompt", "x", "--dtype", "int4"],
        ["generate", "--prompt", "x", "--image-mode", "stretch"],
        ["generate", "--prompt", "x", "--frobnicate"],
        ["convert", "a", "b", "--bits", "7"],
    ],
)
def test_a_wrong_argument_is_two_and_its_last_line_says_why(
    words: list[str], capsys: Captured
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert ": error: " in capsys.readouterr().err.splitlines()[-1]


def test_our_own_mistake_is_one_and_names_itself(
    ask: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise KeyError("lost")

    monkeypatch.setattr(fastvlm, "load", fail)
    assert cli.main(ask) == 1
    assert capsys.readouterr().err == (
        "fastvlm-mlx: KeyError: 'lost' (--debug shows where)\n"
    )


def test_debug_raises(ask: list[str]) -> None:
    with pytest.raises(fastvlm_mlx.errors.ImageError):
        cli.main([*ask, "--image", "missing.png", "--debug"])


def test_no_traceback_in_a_process_of_its_own(model: str) -> None:
    words = ["generate", "--model", model, "--prompt", "x", "--image", "missing.png"]
    done = run(*words, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "fastvlm-mlx: missing.png does not exist; expected an image file.\n"
    )
