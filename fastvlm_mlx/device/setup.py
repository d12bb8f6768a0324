"""What the process is set up with for speed, when a model is loaded."""

import functools
import os
import shutil
import sys

from . import blas, malloc
from .backend import current, mx
from .compiling import Compiler, kernels
from .kernel_folder import are_compiled, mark_compiled

COMPILE = "FASTVLM_MLX_COMPILE"
"""Environment variable: 1 compiles kernels at once, 0 never."""

_CACHE_SHARE = 8
"""One part in so many of the GPU's memory is for freed buffers. MLX would keep them for
reuse almost without bound, at the cost of other programs; this much holds those of one
encode at 1024x1024 in half precision on the smallest Mac (`fastvlm-mlx plan`)."""


@functools.cache
def configure() -> None:
    """Set the process up for speed; once, before the first large arrays.

    On Metal these are MLX's limits: without a wired limit macOS may page weights out
    between tokens. On a Linux CPU MLX gets OpenBLAS, and malloc keeps freed memory.
    """
    if current() == "metal":
        size = int(mx.device_info()["max_recommended_working_set_size"])
        mx.set_wired_limit(size)
        mx.set_cache_limit(size // _CACHE_SHARE)
    elif current() == "cpu" and sys.platform == "linux":
        blas.load()
        malloc.keep()
        kernels.compiler = compiler()


def compiler() -> Compiler:
    """The C++ compiler of this machine, and whether it was asked for."""
    asked = {"1": True, "0": False}.get(os.environ.get(COMPILE, ""))
    works = shutil.which("g++") is not None
    return Compiler(asked, works, are_compiled, mark_compiled)
