"""The command's own process keeps compiled kernels; anybody else's is left alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

WHERE = "import os; print(os.environ.get('TMPDIR'))"
ASK = f"""
import sys
from fastvlm_mlx import cli
from fastvlm_mlx.cli import inspect
inspect.run = lambda arguments: exec({WHERE!r})
"""


def run(code: str, cache: Path) -> str:
    known = {k: v for k, v in os.environ.items() if k not in ("TMPDIR", "TMP", "TEMP")}
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", "nano"],
        env={**known, "FASTVLM_MLX_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="no kernels are compiled here")
def test_the_command_keeps_kernels_next_to_models(tmp_path: Path) -> None:
    assert run(f"{ASK}\ncli.main()", tmp_path) == str(tmp_path / "kernels")


def test_a_process_that_calls_main_keeps_its_folder(tmp_path: Path) -> None:
    assert run(f"{ASK}\ncli.main(['inspect', 'nano'])", tmp_path) == "None"
    assert not list(tmp_path.iterdir())
