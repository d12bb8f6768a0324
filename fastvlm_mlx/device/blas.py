"""A real BLAS under MLX on Linux.

MLX's CPU wheel for Linux links the reference BLAS, about twenty times slower
than OpenBLAS on a float32 matmul (benchmarks/README.md). The dynamic linker
takes the first definition of `cblas_sgemm` that it meets, so loading OpenBLAS
globally *before* `mlx.core` is enough: no rebuild, no environment variable.
On macOS MLX uses Accelerate and nothing is done.
"""

import ctypes
import os
import sys
from pathlib import Path

_RUNTIME_NAME = b"libgfortran.so.5"
_PATIENCE = "OPENBLAS_THREAD_TIMEOUT"
_loaded_from: str | None = None


def load() -> str | None:
    """Load OpenBLAS once, before MLX.

    Returns:
        Where it came from, or None where nothing was loaded: not Linux, MLX
        imported earlier by somebody else, or no OpenBLAS on this machine.
    """
    global _loaded_from
    if sys.platform != "linux" or _loaded_from or "mlx.core" in sys.modules:
        return _loaded_from
    for candidate in (_from_wheel, _from_system):
        try:
            _loaded_from = candidate()
        except OSError:
            continue
        break
    return _loaded_from


def hint() -> str | None:
    """One line for a Linux user whose matmuls run on the reference BLAS."""
    if sys.platform != "linux" or _loaded_from:
        return None
    return (
        "MLX runs on its reference BLAS here, about 20 times slower than it could. "
        "Install OpenBLAS (pip install cmeel-openblas, or your system's libopenblas) "
        "and import fastvlm_mlx before mlx."
    )


def _from_wheel() -> str:
    """The `cmeel-openblas` wheel, a dependency of this package on Linux."""
    library = _find("cmeel.prefix/lib/libopenblas.so")
    try:
        _load_globally(library)
    except OSError:  # it wants a Fortran runtime, which slim systems lack
        _load_fortran_runtime()
        _load_globally(library)
    return library


def _from_system() -> str:
    _load_globally("libopenblas.so.0")
    return "libopenblas.so.0"


def _load_fortran_runtime() -> None:
    """Offer the Fortran runtime inside MLX's wheel under its ordinary name.

    The wheel carries libgfortran with a mangled soname, which OpenBLAS does not
    ask for. A copy in memory with the soname shortened in place is found.
    """
    _load_globally(_find("mlx_cpu.libs/libquadmath*"))
    source = Path(_find("mlx_cpu.libs/libgfortran*"))
    mangled = source.name.encode() + b"\0"
    plain = _RUNTIME_NAME.ljust(len(mangled), b"\0")
    descriptor = os.memfd_create(_RUNTIME_NAME.decode())
    try:
        os.write(descriptor, source.read_bytes().replace(mangled, plain))
        _load_globally(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _find(pattern: str) -> str:
    for folder in map(Path, sys.path):
        for match in folder.glob(pattern):
            return str(match)
    raise FileNotFoundError(pattern)


def _load_globally(library: str) -> None:
    """Load it, and tell it how soon its threads shall sleep, unless the user has.

    After a matmul OpenBLAS's threads wait for the next one at full speed, for some
    hundredths of a second by default, on cores that MLX's own threads then lack. It
    reads its environment when it is loaded, and never again.
    """
    ours = _PATIENCE not in os.environ
    if ours:
        os.environ[_PATIENCE] = "4"  # 2**4 ticks of the clock; it takes no less
    try:
        ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    finally:
        if ours:
            del os.environ[_PATIENCE]
