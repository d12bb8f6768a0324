"""Where MLX keeps the kernels that it compiles for the CPU.

MLX asks for the system's folder for temporary files each time (C++'s
`std::filesystem::temp_directory_path`), so TMPDIR moves it and nothing else does.
"""

import contextlib
import os
import struct
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from ..version import __version__

_VARIABLES = ("TMPDIR", "TMP", "TEMP", "TEMPDIR")
"""Asked in this order by C++'s library."""

_ELF = struct.Struct("<40xQ10xHH2x")
"""Of a header: where the table of sections begins, bytes of an entry, entries."""

_FRESH = 120
"""Seconds in which a file may still be being written."""


def kernel_folder() -> Path:
    """The folder of the MLX that is installed; it may not be there yet."""
    base = next((os.environ[name] for name in _VARIABLES if name in os.environ), "/tmp")
    return Path(base) / "mlx" / version("mlx") / "cpu"


def are_compiled() -> bool:
    """Whether `mark_compiled` was called for this folder by this version."""
    return _mark().exists()


def mark_compiled() -> None:
    """Note that the kernels of a model are there; a folder that refuses is let be."""
    with contextlib.suppress(OSError):
        _mark().touch()


def keep_kernels(folder: Path) -> None:
    """Have MLX keep its kernels in a folder that outlives a reboot.

    Sets TMPDIR, so it is for a process that is ours alone; one that has TMPDIR keeps
    it. Python's own temporary files stay where they were. Compiling is not atomic, and
    a file that a killed process left half written would fail for ever: it is removed.
    """
    if any(name in os.environ for name in _VARIABLES):
        return
    tempfile.gettempdir()  # chosen now, and kept by Python from here on
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            return
    except OSError:
        return
    os.environ["TMPDIR"] = str(folder)
    for file in kernel_folder().glob("lib*.so"):
        with contextlib.suppress(OSError):
            if not _is_whole(file):
                file.unlink()


def _mark() -> Path:
    return kernel_folder() / f"fastvlm-mlx-{__version__}"


def _is_whole(file: Path) -> bool:
    """Whether a shared library reaches to its table of sections, which is its end."""
    status = file.stat()
    if time.time() - status.st_mtime < _FRESH:
        return True
    with open(file, "rb") as opened:
        header = opened.read(_ELF.size)
    if len(header) < _ELF.size:
        return False
    begin, size, count = _ELF.unpack(header)
    return header[:4] == b"\x7fELF" and 0 < begin + size * count <= status.st_size
