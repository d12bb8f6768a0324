"""OpenBLAS under MLX on Linux: there, in time, and harmless elsewhere."""

import subprocess
import sys
from pathlib import Path

import pytest

from fastvlm_mlx.device import blas

linux = pytest.mark.skipif(sys.platform != "linux", reason="MLX uses Accelerate here")


def run(code: str) -> str:
    """What a fresh interpreter prints: which library came first cannot be undone."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


MAPPED = "print('openblas' in open('/proc/self/maps').read().lower())"


@linux
def test_importing_the_package_loads_openblas() -> None:
    assert run(f"import fastvlm_mlx; {MAPPED}") == "True"


@linux
def test_it_serves_the_matmul_of_mlx() -> None:
    """Whose cblas_sgemm a lookup meets first is who computes."""
    code = """
import ctypes, fastvlm_mlx, mlx.core as mx
class Info(ctypes.Structure):
    _fields_ = [(n, ctypes.c_char_p if n[1] == "n" else ctypes.c_void_p)
                for n in ("fname", "base", "sname", "symbol")]
info = Info()
libc = ctypes.CDLL(None)
libc.dladdr(ctypes.cast(libc.cblas_sgemm, ctypes.c_void_p), ctypes.byref(info))
print(info.fname.decode())
"""
    assert "openblas" in run(code)


@linux
def test_after_mlx_it_comes_too_late_and_says_so() -> None:
    code = (
        "import mlx.core; from fastvlm_mlx import blas; "
        "print(blas.load(), 'import fastvlm_mlx before mlx' in blas.hint())"
    )
    assert run(code) == "None True"


@linux
def test_loading_twice_is_loading_once() -> None:
    assert blas.load() == blas.load()


@linux
def test_without_the_wheel_the_system_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    forget(monkeypatch)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(blas, "_load_globally", asked.append)
    assert blas.load() == "libopenblas.so.0"
    assert asked == ["libopenblas.so.0"]
    assert blas.hint() is None


@linux
def test_without_any_openblas_there_is_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(blas, "_load_globally", refuse)
    assert blas.load() is None
    assert "pip install cmeel-openblas" in (blas.hint() or "")


@linux
def test_a_slim_system_gets_the_fortran_runtime_of_mlx(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first try at OpenBLAS fails there, and the second one must not."""
    loaded: list[str] = []

    def load(library: str) -> None:
        loaded.append(Path(library).name)
        if len(loaded) == 1:
            refuse(library)

    forget(monkeypatch)
    monkeypatch.setattr(blas, "_load_globally", load)
    assert blas.load() is not None
    assert loaded[0] == loaded[-1] == "libopenblas.so"
    assert loaded[1].startswith("libquadmath")
    assert len(loaded) == 4  # the third is the copy of libgfortran in memory


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_nothing_is_done(
    monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    forget(monkeypatch)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(blas, "_load_globally", refuse)
    assert blas.load() is None
    assert blas.hint() is None


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has loaded nothing yet."""
    monkeypatch.setattr(blas, "_loaded_from", None)
    monkeypatch.delitem(sys.modules, "mlx.core", raising=False)


def refuse(library: str) -> None:
    raise OSError(f"{library}: cannot open shared object file")


@linux
@pytest.mark.parametrize("asked", [None, "26"])
def test_its_threads_sleep_soon_unless_told_otherwise(asked: str | None) -> None:
    """What the library was told shows in no function of it, but as it is loaded."""
    code = f"""
import ctypes, os
name, told = "OPENBLAS_THREAD_TIMEOUT", []
if {asked!r}: os.environ[name] = {asked!r}
load, ctypes.CDLL = ctypes.CDLL, lambda *a, **k: (
    told.append(os.environ.get(name)), load(*a, **k))
import fastvlm_mlx
print(set(told), os.environ.get(name))
"""
    assert run(code) == f"{ {asked or '4'} } {asked}"
