"""Where the command keeps the kernels that MLX compiles for the CPU."""

import sys

from ..device.kernel_folder import keep_kernels
from ..errors import FastVLMError
from ..resolve import cache_folder


def keep() -> None:
    """Keep them next to converted models, where a reboot does not lose them."""
    if sys.platform != "linux":
        return
    try:
        keep_kernels(cache_folder() / "kernels")
    except FastVLMError:  # a user without a home, who may need no cache at all
        return
