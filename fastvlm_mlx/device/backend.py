"""Which device runs the arrays, what it computes in, and its one-time settings.

Importing this module changes nothing of the process; `device/setup.py` does.
"""

from typing import Literal

import mlx.core as mx

from ..errors import OptionError

__all__ = [
    "DTYPES",
    "Backend",
    "architecture",
    "current",
    "emulates_bfloat16",
    "mx",
    "pick_dtype",
    "runs_ahead",
    "start",
]

Backend = Literal["metal", "cuda", "cpu"]

DTYPES = {
    "float32": mx.float32,
    "bfloat16": mx.bfloat16,
    "float16": mx.float16,
}


def current() -> Backend:
    """The backend of MLX's default device."""
    if mx.default_device().type == mx.cpu:
        return "cpu"
    return "metal" if mx.metal.is_available() else "cuda"


_WITHOUT_BFLOAT16 = ("applegpu_g13", "applegpu_g14")
"""GPU architectures of M1 and M2, which emulate bfloat16 and have float16."""


def pick_dtype(name: str | None = None, fits_float16: bool = False) -> mx.Dtype:
    """The dtype to compute in: the one asked for, or the fastest that is safe.

    On the CPU half precision is scalar code, 10 to 100 times slower than float32.
    On a GPU bfloat16 is the dtype that FastVLM was trained in; on M1 and M2 it is
    emulated, and float16 is taken if the model fits into its range.
    """
    if name is not None and name not in DTYPES:
        raise OptionError(f"dtype is {name!r}; expected one of {', '.join(DTYPES)}.")
    if name is not None:
        return DTYPES[name]
    if current() == "cpu":
        return mx.float32
    return mx.float16 if emulates_bfloat16() and fits_float16 else mx.bfloat16


def emulates_bfloat16() -> bool:
    """Whether the GPU is one of M1's or M2's."""
    return current() == "metal" and architecture().startswith(_WITHOUT_BFLOAT16)


def architecture() -> str:
    """What MLX calls the GPU's architecture, for example "applegpu_g13s" (M1 Max)."""
    return str(mx.device_info()["architecture"])


def start(*arrays: mx.array) -> None:
    """Set work going that will be needed soon.

    On a GPU it runs while the host goes on. On the CPU both would share the cores,
    and the queue makes the host wait after a few operations anyway, so the work is
    done here, which also keeps the times of the parts apart.
    """
    if current() == "cpu":
        mx.eval(*arrays)
    else:
        mx.async_eval(*arrays)


def runs_ahead() -> bool:
    """Whether work that is not asked for yet delays nothing that is.

    On a GPU the next token is computed while the host handles this one. On the CPU
    it would come before this one.
    """
    return current() != "cpu"
