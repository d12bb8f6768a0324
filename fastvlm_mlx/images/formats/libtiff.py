"""Keep libtiff from writing to the terminal about damaged files.

Pillow leaves libtiff's own handler for errors in place, which writes to the process's
standard error, past Python. Redirecting that would take it from all other threads, so
the handler is taken away while a file is decoded here, through the library that Pillow
loaded. Where it is hidden in Pillow (linked in statically), messages appear.
"""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from PIL import _imaging

_lock = threading.Lock()
_decoding = 0
_handlers: list[int | None] = []


@cache
def _setters() -> list[Any]:
    """The functions that set a handler and give back the former one."""
    found = []
    try:
        library = ctypes.CDLL(_imaging.__file__)  # it reaches what that was linked to
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            function = getattr(library, name)
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
            found.append(function)
    except (AttributeError, OSError, TypeError):
        return []
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """No messages while anybody is in here; then as before. Threads may overlap."""
    global _decoding, _handlers
    with _lock:
        _decoding += 1
        if _decoding == 1:
            _handlers = [setter(None) for setter in _setters()]
    try:
        yield
    finally:
        with _lock:
            _decoding -= 1
            if _decoding == 0:
                for setter, handler in zip(_setters(), _handlers, strict=True):
                    setter(handler)
