"""Compiled kernels: found where MLX puts them, kept where a reboot leaves them."""

import _ctypes
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fastvlm_mlx.device.kernel_folder import (
    are_compiled,
    keep_kernels,
    kernel_folder,
    mark_compiled,
)

LIBRARY = getattr(_ctypes, "__file__", None)  # none where Python has it built in


@pytest.fixture
def untold(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process whose environment names no folder for temporary files."""
    for name in ("TMPDIR", "TMP", "TEMP", "TEMPDIR"):
        monkeypatch.setenv(name, "")  # so that it is taken back afterwards
        monkeypatch.delenv(name)


def test_mlx_compiles_into_it(tmp_path: Path) -> None:
    code = """
import mlx.core as mx
from fastvlm_mlx.device.kernel_folder import kernel_folder
mx.eval(mx.compile(lambda x: mx.abs(x) * 2 + 1)(mx.ones(3)))
print(len(list(kernel_folder().glob("lib*.so"))))
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    if subprocess.run(["which", "g++"], capture_output=True).returncode:
        pytest.skip("there is no g++")
    assert done.stdout.strip() == "1"


def test_it_follows_the_environment_as_it_is_now(
    untold: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kernel_folder().is_relative_to("/tmp/mlx")
    monkeypatch.setenv("TEMP", "/b")
    assert kernel_folder().is_relative_to("/b/mlx")
    monkeypatch.setenv("TMPDIR", "/a")
    assert kernel_folder().is_relative_to("/a/mlx")


def test_the_mark_stays_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    mark_compiled()  # nothing was compiled, so there is no folder and nothing to mark
    assert not are_compiled()
    kernel_folder().mkdir(parents=True)
    mark_compiled()
    assert are_compiled()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "other"))
    assert not are_compiled()


def test_kernels_are_kept_and_temporary_files_stay(
    tmp_path: Path, untold: None
) -> None:
    before = tempfile.gettempdir()
    keep_kernels(tmp_path / "made" / "kernels")
    assert kernel_folder().is_relative_to(tmp_path / "made" / "kernels")
    assert (tmp_path / "made" / "kernels").stat().st_mode & 0o777 == 0o700
    assert tempfile.gettempdir() == before


def test_a_folder_that_the_user_chose_stays(
    tmp_path: Path, untold: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", "/chosen")
    keep_kernels(tmp_path / "kernels")
    assert os.environ["TMPDIR"] == "/chosen"
    assert not list(tmp_path.iterdir())


def test_without_room_for_them_nothing_changes(tmp_path: Path, untold: None) -> None:
    (tmp_path / "file").touch()
    keep_kernels(tmp_path / "file" / "kernels")
    assert "TMPDIR" not in os.environ


def test_what_a_killed_compiler_left_is_removed(tmp_path: Path, untold: None) -> None:
    if LIBRARY is None:
        pytest.skip("no shared library to take a piece of")
    whole = Path(LIBRARY).read_bytes()
    (tmp_path / kernel_folder().relative_to("/tmp")).mkdir(parents=True)
    folder = tmp_path / kernel_folder().relative_to("/tmp")
    made = {
        "libwhole.so": (whole, 1),
        "libcut.so": (whole[:-1], 1),
        "libempty.so": (b"", 1),
        "libtext.so": (b"x" * 500, 1),
        "libnew.so": (whole[:100], None),  # perhaps another process is at it
        "kernel.cpp": (b"", 1),
    }
    for name, (data, time) in made.items():
        (folder / name).write_bytes(data)
        if time:
            os.utime(folder / name, (time, time))
    keep_kernels(tmp_path)
    assert sorted(os.listdir(folder)) == ["kernel.cpp", "libnew.so", "libwhole.so"]
