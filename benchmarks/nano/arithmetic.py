"""How a device computes a step fastest: in which precision, by which attention."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

# What a CPU has that multiplies bfloat16; torch on others takes twice as long for it as
# for float32.
BFLOAT16 = ("amx_bf16", "avx512_bf16")


def precision_of(device: torch.device) -> AbstractContextManager[None]:
    """Choose bfloat16 where the device multiplies it, float32 otherwise."""
    has = torch.cpu.get_capabilities()
    enabled = device.type != "cpu" or any(has.get(name) for name in BFLOAT16)
    chosen: AbstractContextManager[None] = torch.autocast(
        device.type, torch.bfloat16, enabled=enabled
    )
    return chosen


def attention_of(device: torch.device) -> AbstractContextManager[None]:
    """Choose attention in plain multiplications on a CPU, where flash learns slowly.

    With some tens of tokens per picture a step takes 0.67 seconds so, 0.97 otherwise.
    """
    plain: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    return plain if device.type == "cpu" else nullcontext()
