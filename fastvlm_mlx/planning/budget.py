"""How much memory a model and its work may take, and on which machine."""

import os
import re

from ..device.backend import current, mx
from ..device.memory import memory_size
from ..errors import OptionError
from .memory_plan import Machine

LIMIT_VARIABLE = "FASTVLM_MLX_MEMORY_LIMIT"
"""Environment variable with the memory that a model and its work may take."""

_UNITS = {"": 1, "MB": 10**6, "GB": 10**9, "MIB": 1 << 20, "GIB": 1 << 30}


def memory_limit(chosen: int | str | None = None) -> int:
    """Bytes that a model and its work may take.

    Args:
        chosen: bytes, or a text such as "6GB"; None is what FASTVLM_MLX_MEMORY_LIMIT
            says, or else all that arrays may take.

    Raises:
        OptionError: no amount of memory.
    """
    if chosen is None:
        chosen = os.environ.get(LIMIT_VARIABLE) or None
    if chosen is None:
        return memory_size()
    found = re.fullmatch(
        r"([0-9]{1,15}(?:\.[0-9]{1,9})?) *([A-Z]*)", str(chosen).upper()
    )
    unit = _UNITS.get(found[2]) if found else None
    if not found or not unit or float(found[1]) <= 0:
        raise OptionError(
            f"The memory limit is {chosen!r}; expected bytes, or an amount such as 6GB."
        )
    return int(float(found[1]) * unit)


def this_machine(dtype: mx.Dtype, limit: int) -> Machine:
    """The machine underneath, for a plan of work in a dtype within a limit of bytes."""
    on_cpu = current() == "cpu"
    return Machine(limit, dtype.size, unpacks=on_cpu, fused_attention=not on_cpu)
