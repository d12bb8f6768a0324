"""Memory that stays in the process once it was there, on Linux.

MLX's CPU backend asks malloc for every result. glibc maps each large block freshly
and returns it when it is freed, so every page of every activation is faulted in and
zeroed by the kernel before it is written: a third of an encode's time
(benchmarks/README.md). Kept on the heap, freed blocks are used again as they are. The
process then stays as large as it once was, which a program that is mostly something
else may not want: FASTVLM_MLX_KEEP_MEMORY=0 leaves malloc alone.
"""

import ctypes
import os

SWITCH = "FASTVLM_MLX_KEEP_MEMORY"
"""Environment variable; 0 leaves malloc as the process has it."""

# glibc, malloc.h; the numbers are part of its ABI
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep() -> bool:
    """Let freed memory be used again; False if switched off or not glibc's malloc."""
    if os.environ.get(SWITCH) == "0":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {
        _M_MMAP_MAX: 0,
        _M_TRIM_THRESHOLD: 2**31 - 1,
        _M_ARENA_MAX: 1,  # the heaps of other threads end at 64 MB
    }
    return all(mallopt(name, value) == 1 for name, value in settings.items())
