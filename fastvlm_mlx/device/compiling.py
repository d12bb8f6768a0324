"""When the CPU's elementwise kernels are compiled: with g++, ten seconds, once.

`mx.compile` joins elementwise operations into kernels. For a CPU each is a file of
C++, which MLX hands to g++ when it is first computed (0.6 s each, a dozen for a model)
and finds again later. The same operations one by one give the same numbers, at 0.6 of
the speed for an encoder of 123 M parameters. So a short answer is sooner there without
kernels, and a long run is done sooner with them.

Kernels are held back until as much time was lost without them as compiling takes, or
used at once where they were compiled before.
"""

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from .backend import current, mx

WORTH = 4.2e14
"""Parameters times pixels of images encoded, after which compiling would have paid:
8.5 s of g++ at 2.0e-14 s lost for each. An encode of FastViTHD (1.2e8 parameters) loses
2.6 s at 1024x1024 and 0.6 s at 512x512 (benchmarks/README.md). Both are the work of one
core, so their ratio hardly depends on the machine."""

_log = logging.getLogger(__name__)

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Compiler:
    """What decides when kernels are compiled; `device/setup.py` knows the machine."""

    asked: bool | None = None  # at once, never; None is when it pays
    works: bool = True  # whether there is one
    are_compiled: Callable[[], bool] = lambda: False  # by an earlier process
    mark_compiled: Callable[[], None] = lambda: None


class Kernels:
    """Whether this process uses compiled kernels, and what it has done without."""

    def __init__(self) -> None:
        self.compiler = Compiler()
        self._used: bool | None = None  # None: not decided yet
        self._hopeless = False
        self._without = 0.0  # parameters times pixels encoded without kernels
        self._with = 0  # images encoded with them

    @property
    def used(self) -> bool:
        """Whether what is built now may be compiled; always, on a GPU."""
        if current() != "cpu":
            return True
        if self._used is None:
            self._used = False
            compiler = self.compiler
            self._hopeless = compiler.asked is False or not compiler.works
            if compiler.asked or compiler.are_compiled():
                self.begin()
        return self._used

    def begin(self) -> None:
        """Use kernels from now on, unless they cannot be compiled or must not be."""
        if self.used or self._hopeless:
            return
        if not self.compiler.are_compiled():
            _log.info(
                "Compiling for this CPU with g++, about ten seconds, kept for later "
                "(FASTVLM_MLX_COMPILE=0 does without)."
            )
        self._used = _compiles()
        self._hopeless = not self._used

    def count(self, parameters: int, pixels: int) -> None:
        """Note images that are about to be encoded; enough of them start compiling."""
        if not self.used:
            self._without += parameters * pixels
            if self._without >= WORTH:
                self.begin()
        if self._used:
            self._with += 1
            if self._with == 2:  # those of the first one are there
                self.compiler.mark_compiled()


kernels = Kernels()
"""The process's own."""


def sparing(build: Callable[_P, _T]) -> Callable[_P, _T]:
    """Decorate what builds a graph: nothing in it is compiled that does not pay yet."""

    @functools.wraps(build)
    def spared(*arguments: _P.args, **options: _P.kwargs) -> _T:
        if kernels.used:
            return build(*arguments, **options)
        with _uncompiled():
            return build(*arguments, **options)

    return spared


@contextmanager
def _uncompiled() -> Iterator[None]:
    """MLX's own switch is the process's, so it is set back at once.

    Code of others that calls a compiled function in that moment, in another thread,
    has it run as it is written.
    """
    if not _is_enabled():  # by the host, or by MLX_DISABLE_COMPILE
        yield
        return
    mx.disable_compile()
    try:
        yield
    finally:
        mx.enable_compile()


_calls = 0


@mx.compile
def _traced(x: mx.array) -> mx.array:
    """Compiled, it is run once per thread; not compiled, at every call."""
    global _calls
    _calls += 1
    return x


def _is_enabled() -> bool:
    """Whether compiled functions are compiled: MLX does not say."""
    x = mx.array(0)
    _traced(x)
    before = _calls
    _traced(x)
    return _calls == before


def _compiles() -> bool:
    """Try it: a g++ without its headers or a full disk would fail every answer."""
    try:
        mx.eval(mx.compile(lambda x: mx.abs(x) + x)(mx.zeros(2)))
    except RuntimeError as error:
        _log.warning("Going on without compiled kernels: %s", str(error)[:300])
        return False
    return True
