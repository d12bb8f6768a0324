"""OpenBLAS under MLX on Linux: there, whenever it comes, and nobody else's."""

import subprocess
import sys
from pathlib import Path

import pytest

from fastvlm_mlx.device import blas

linux = pytest.mark.skipif(sys.platform != "linux", reason="MLX uses Accelerate here")


def run(code: str, **environment: str) -> list[str]:
    """The words that a fresh interpreter prints: a BLAS is never taken back."""
    given = "".join(
        f"os.environ[{name!r}] = {value!r}\n" for name, value in environment.items()
    )
    command = [sys.executable, "-c", f"import os\n{given}{code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split()


MAPPED = "print('cmeel' in open('/proc/self/maps').read())"
SERVES = "from fastvlm_mlx.device import blas; print(blas.load() or None)"


@linux
@pytest.mark.parametrize(
    "statement",
    [
        "import fastvlm_mlx",
        "from fastvlm_mlx import FastVLM, Request, load",
        "import fastvlm_mlx.engine",
    ],
)
def test_importing_loads_nothing(statement: str) -> None:
    assert run(f"{statement}; {MAPPED}") == ["False"]


@linux
@pytest.mark.parametrize("first", ["pass", "import mlx.core", "import fastvlm_mlx"])
def test_load_gives_mlx_openblas_whatever_was_imported_first(first: str) -> None:
    code = f"{first}\nimport mlx.core, fastvlm_mlx\nfastvlm_mlx.load()\n{SERVES}"
    (file,) = run(code)
    assert "libopenblas" in Path(file).name


@linux
def test_it_computes_what_the_reference_computes() -> None:
    code = """
import mlx.core as mx
from fastvlm_mlx.device import blas
a = mx.random.normal((300, 200), key=mx.random.key(0))
before = a @ a.T; mx.eval(before)
file = blas.load()
after = a @ a.T
print("openblas" in file, mx.allclose(before, after, atol=1e-3).item())
print(mx.array_equal(before, after).item())
"""
    # not to the last bit: that it is another one that computes shows there
    assert run(code) == ["True", "True", "False"]


@linux
def test_no_other_library_sees_it() -> None:
    code = """
import ctypes, fastvlm_mlx
fastvlm_mlx.load()
print(hasattr(ctypes.CDLL(None), "cblas_sgemm"), hasattr(ctypes.CDLL(None), "sgemm_"))
"""
    assert run(code) == ["False", "False"]


@linux
def test_the_environment_leaves_mlx_its_own() -> None:
    load = "import fastvlm_mlx; fastvlm_mlx.load()"
    code = f"{load}\n{MAPPED}\n{SERVES}\nprint(blas.hint())"
    assert run(code, FASTVLM_MLX_BLAS="0") == ["False", "None", "None"]


@linux
def test_a_child_of_fork_computes_with_it_too() -> None:
    code = """
import os
import mlx.core as mx
from fastvlm_mlx.device import blas
blas.load()
child = os.fork()
if not child:
    a = mx.ones((64, 64)); mx.eval(a)
    os._exit(int((a @ a)[0, 0].item()))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(code) == ["64"]


@linux
def test_loading_twice_is_loading_once() -> None:
    first = blas.load()
    assert first and blas.load() == first


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> list[dict[int, tuple[str, str]]]:
    """As in a process whose MLX calls the reference BLAS; gives what is replaced."""
    replaced: list[dict[int, tuple[str, str]]] = []
    slots = {64: ("libblas-1a.so.3", "cblas_sgemm")}
    monkeypatch.setattr(blas, "_openblas", None)
    monkeypatch.setattr(blas, "_slots", lambda library: slots)
    monkeypatch.setattr(blas, "_is_reference", lambda each: "libblas" in each[0])
    monkeypatch.setattr(blas, "_write", lambda slot, address: replaced.append(slots))
    return replaced


@linux
def test_without_the_wheel_the_system_is_asked(
    reference: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def load(library: str) -> object:
        asked.append(library)
        return Functions()

    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(blas, "_load", load)
    blas.load()
    assert asked == ["libopenblas.so.0"]
    assert len(reference) == 1


class Functions:
    """Stands in for a library that has every function."""

    def __getattr__(self, name: str) -> object:
        return blas.ctypes.CDLL(None).printf  # type: ignore[attr-defined]


@linux
def test_without_any_openblas_there_is_a_hint(
    reference: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(blas, "_load", refuse)
    assert blas.load() is None
    assert "pip install cmeel-openblas" in (blas.hint() or "")
    assert not reference


@linux
def test_an_openblas_that_lacks_a_function_replaces_none(
    reference: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blas, "_load", lambda name: object())
    assert blas.load() is None
    assert not reference


@linux
def test_an_mlx_built_in_another_way_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blas, "_slots", lambda library: {})
    monkeypatch.setattr(blas, "_load", refuse)
    assert blas.load() is None
    assert blas.hint() is None  # nobody knows whether there is anything to say


@linux
def test_a_blas_that_the_user_chose_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {64: ("/opt/mkl/libmkl_rt.so.2", "cblas_sgemm")}
    monkeypatch.setattr(blas, "_slots", lambda library: chosen)
    monkeypatch.setattr(blas, "_load", refuse)
    assert blas.load() == "/opt/mkl/libmkl_rt.so.2"
    assert blas.hint() is None


@linux
def test_an_address_is_written_where_the_linker_has_locked_it() -> None:
    """Full RELRO makes the table read-only; the page is so again afterwards."""
    code = """
import ctypes, mmap
from fastvlm_mlx.device import blas
page = mmap.mmap(-1, mmap.PAGESIZE)
start = ctypes.addressof(ctypes.c_char.from_buffer(page))
ctypes.CDLL(None).mprotect(ctypes.c_void_p(start), mmap.PAGESIZE, 1)
blas._write(start + 8, 12345)
print(ctypes.c_void_p.from_address(start + 8).value, blas._is_writable(start))
os._exit(print(end="", flush=True) or 0)
"""
    assert run(code) == ["12345", "False"]


@linux
def test_a_slim_system_gets_the_fortran_runtime_of_mlx(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first try at OpenBLAS fails there, and the second one must not."""
    loaded: list[str] = []

    def load(library: str) -> object:
        loaded.append(Path(library).name)
        if len(loaded) == 1:
            refuse(library)
        return Functions()

    monkeypatch.setattr(blas, "_openblas", None)
    monkeypatch.setattr(blas, "_load", load)
    assert blas._load_openblas() is not None
    assert loaded[0] == loaded[-1] == "libopenblas.so"
    assert loaded[1].startswith("libquadmath")
    assert len(loaded) == 4  # the third is the copy of libgfortran in memory


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_nothing_is_done(
    monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(blas, "_load", refuse)
    assert blas.load() is None
    assert blas.hint() is None


def refuse(library: str) -> object:
    raise OSError(f"{library}: cannot open shared object file")


@linux
@pytest.mark.parametrize("asked", [None, "26"])
def test_its_threads_sleep_soon_unless_told_otherwise(asked: str | None) -> None:
    """What the library was told shows in no function of it, but as it is loaded."""
    code = """
import ctypes
import mlx.core
from fastvlm_mlx.device import blas
name, told, load = "OPENBLAS_THREAD_TIMEOUT", [], ctypes.CDLL
def record(file, *a, **k):
    if "openblas" in str(file): told.append(os.environ.get(name))
    return load(file, *a, **k)
ctypes.CDLL = record
blas.load()
print(*set(told), os.environ.get(name))
"""
    environment = {"OPENBLAS_THREAD_TIMEOUT": asked} if asked else {}
    assert run(code, **environment) == [asked or "4", str(asked)]


@linux
def test_matmuls_go_on_while_it_is_given() -> None:
    """One store per address: a thread in the middle of a matmul notices nothing."""
    code = """
import threading
import mlx.core as mx
from fastvlm_mlx.device import blas
done, faults = threading.Event(), []
def work():
    a = mx.ones((96, 96)); mx.eval(a)
    while not done.is_set():
        if (a @ a)[0, 0].item() != 96: faults.append(1)
threads = [threading.Thread(target=work) for _ in range(2)]
for each in threads: each.start()
blas.load(); mx.eval(mx.ones((8, 8)) @ mx.ones((8, 8))); done.set()
for each in threads: each.join()
print(len(faults), "openblas" in blas.load())
"""
    assert run(code) == ["0", "True"]
