"""How much memory this machine has, and which share of it each thing may take."""

import os
from pathlib import Path

from ..config import TextConfig
from .backend import current, mx

FEATURE_SHARE = 64
"""One part in so many of the memory is for images already encoded."""

PREFIX_SHARE = 16
"""One part in so many of the memory is for prompts already read."""

ACTIVATION_SHARE = 16
"""One part in so many of the memory is for one step of prefill."""

PREFILL_STEPS = (2048, 1024, 512, 256, 128)
"""Positions per prefill step; a shorter one would starve a GPU."""


def memory_size() -> int:
    """Bytes that arrays may take: the GPU's share, or the machine's or container's."""
    if current() != "cpu":
        info = mx.device_info()
        size = info.get("max_recommended_working_set_size") or info.get("memory_size")
        if size:
            return int(size)
    return host_memory()


def host_memory() -> int:
    """Bytes that this process may use: the machine's, or its container's."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:  # no container
        return machine
    return min(machine, int(limit)) if limit.isdigit() else machine


def prefill_step(config: TextConfig, positions: int, item_bytes: int) -> int:
    """Positions to prefill at a time, so that activations stay within their share.

    Args:
        config: the language model.
        positions: of the whole prompt.
        item_bytes: of one activation.
    """
    budget = memory_size() // ACTIVATION_SHARE
    fits = (
        step
        for step in PREFILL_STEPS
        if step * _activation_bytes(config, positions, item_bytes) <= budget
    )
    return next(fits, PREFILL_STEPS[-1])


def _activation_bytes(config: TextConfig, positions: int, item_bytes: int) -> int:
    """What one position takes in one layer while it is computed.

    The MLP holds its two branches and their product, attention its input, queries,
    output and the residual; and scores to every position, where they are not fused.
    """
    widths = 3 * config.intermediate_size + 4 * config.hidden_size
    return item_bytes * (widths + config.num_attention_heads * positions)
