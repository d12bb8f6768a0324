"""What this machine can do, what will be slow on it, and how to mend that.

`look` finds facts, `rates` measures, `advise` judges facts alone: it can be asked about
any machine.
"""

import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from ..device import blas
from ..device.backend import DTYPES, architecture, current, emulates_bfloat16, mx
from ..device.kernel_folder import are_compiled
from ..device.memory import host_memory, memory_size
from ..device.setup import configure

OLDEST_MLX = (0, 32)
"""What pyproject.toml asks for."""

LITTLE = 8 << 30
"""Bytes below which only the smaller models fit."""

SLOW_MATMUL = 20e9
"""FLOPs per second in float32 that any BLAS surpasses on any machine of today."""


@dataclass(frozen=True)
class Facts:
    """What can be known without measuring."""

    system: str  # "Linux x86_64"
    python: str
    mlx: str  # version
    mlx_lm: str
    backend: str
    device: str
    architecture: str
    emulates_bfloat16: bool
    memory: int  # bytes of the machine, or its container
    usable: int  # bytes that arrays may take
    openblas: str | None  # the file of the BLAS that MLX calls, if it is a fast one
    compiler: str | None  # where g++ is
    kernels: bool  # whether kernels for the CPU were compiled before
    rosetta: bool  # a Python for Intel on an Apple chip


def look() -> Facts:
    """The facts of this machine."""
    configure()
    info = mx.device_info()
    return Facts(
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        mlx=_version("mlx"),
        mlx_lm=_version("mlx-lm"),
        backend=current(),
        device=str(info.get("device_name", "")),
        architecture=architecture() if current() == "metal" else "",
        emulates_bfloat16=emulates_bfloat16(),
        memory=host_memory(),
        usable=memory_size(),
        openblas=blas.load(),
        compiler=shutil.which("g++"),
        kernels=are_compiled(),
        rosetta=_is_translated(),
    )


def advise(facts: Facts, matmul: float | None = None) -> Iterator[str]:
    """What will be slow or fail, and what to do; nothing if all is well.

    Args:
        matmul: measured FLOPs per second in float32, if known.
    """
    if facts.rosetta:
        yield (
            "This Python is for Intel and runs translated, without the GPU. Install "
            "one for Apple silicon (python.org or Homebrew under /opt/homebrew)."
        )
    if _numbers(facts.mlx) < OLDEST_MLX:
        wanted = ".".join(map(str, OLDEST_MLX))
        yield f"MLX {facts.mlx} is older than {wanted}: pip install --upgrade mlx."
    on_linux = facts.backend == "cpu" and facts.system.startswith("Linux")
    slow = matmul is None or matmul < SLOW_MATMUL
    if on_linux and facts.openblas is None and slow:
        yield (
            "Matmuls run on MLX's reference BLAS, about 20 times slower than they "
            "could: pip install cmeel-openblas, and do not set FASTVLM_MLX_BLAS=0."
        )
    elif facts.backend == "cpu" and matmul is not None and slow:
        yield (
            f"A float32 matmul reaches {matmul / 1e9:.0f} GFLOP/s only: other programs "
            "may be busy, or OPENBLAS_NUM_THREADS may be set too low."
        )
    if on_linux and facts.compiler is None:
        yield (
            "There is no g++: images are encoded at 0.6 of the speed that kernels "
            "compiled for this CPU give. Where many are asked about, install it "
            "(Debian: apt install g++)."
        )
    if facts.backend == "cpu":
        yield (
            "There is no GPU here: answers come in seconds, and half precision is slow "
            "(--dtype float32 is the default). A lower --resolution is the best lever."
        )
    if facts.emulates_bfloat16:
        yield (
            "M1 and M2 emulate bfloat16: float16 is taken where the model fits its "
            "range. If it is not, convert the model again, or try --dtype float16."
        )
    if facts.usable < LITTLE:
        yield (
            f"Arrays may take {facts.usable / 1e9:.1f} GB: `fastvlm-mlx plan` says "
            "which model and precision fits."
        )


def matmul_rate(dtype: mx.Dtype, seconds: float = 0.5) -> float:
    """FLOPs per second of a square matmul, the best of a few."""
    slow = current() == "cpu" and dtype != mx.float32
    side = 256 if slow else 1024 if current() == "cpu" else 4096
    a, b = (mx.random.normal((side, side)).astype(dtype) for _ in range(2))
    return 2 * side**3 / _least_seconds(lambda: mx.eval(a @ b), seconds)


def bandwidth(seconds: float = 0.5) -> float:
    """Bytes per second read by a matrix times a vector, which is what decoding does."""
    weights, vector = mx.ones((8192, 8192)), mx.ones((8192, 1))
    mx.eval(weights, vector)
    took = _least_seconds(lambda: mx.eval(weights @ vector), seconds)
    return weights.nbytes / took


def rates() -> Iterator[tuple[str, float]]:
    """Each rate when it is measured: dtypes in FLOPs per second, then "memory"."""
    for name, dtype in DTYPES.items():
        yield name, matmul_rate(dtype)
    yield "memory", bandwidth()


def _least_seconds(job: Callable[[], object], seconds: float) -> float:
    job()  # the first one also compiles and pages in
    least, end = float("inf"), time.perf_counter() + seconds
    while least == float("inf") or time.perf_counter() < end:
        start = time.perf_counter()
        job()
        least = min(least, time.perf_counter() - start)
    return least


def _is_translated() -> bool:
    """Rosetta shows an Intel machine whose CPU still calls itself Apple's."""
    intel = sys.platform == "darwin" and platform.machine() == "x86_64"
    return intel and "Apple" in _brand()


def _brand() -> str:
    command = ["sysctl", "-n", "machdep.cpu.brand_string"]
    return subprocess.check_output(command, text=True)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # built from source without metadata
        return "0"


def _numbers(version: str) -> tuple[int, ...]:
    """ "0.32.4" as (0, 32)."""
    return tuple(int(part) if part.isdigit() else 0 for part in version.split(".")[:2])
