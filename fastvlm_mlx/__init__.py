"""FastVLM on MLX: ask a picture a question on the machine in front of you.

>>> import fastvlm_mlx
>>> vlm = fastvlm_mlx.load("nano")
>>> vlm.generate("shape.png", "what color is the circle?").text
'red'

The names below are the whole public door. They are imported when first used, so
that `fastvlm-mlx --help` does not wait for MLX. Importing changes nothing of the
process around this package; `load` does, and says what.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .errors import (
    CacheError,
    CheckpointError,
    ConfigError,
    FastVLMError,
    HubError,
    ImageError,
    JobError,
    MemoryBudgetError,
    OptionError,
    PromptError,
    WriteError,
)
from .version import __version__

if TYPE_CHECKING:
    from .caches.caches import CacheStats
    from .chat import Chat
    from .engine import FastVLM, load
    from .generation.generate import GenerationResult, TextStream, Timings
    from .images.resolution import ImageInput
    from .options import GenerationOptions
    from .request import Outcome, Request


__all__ = [
    "CacheError",
    "CacheStats",
    "Chat",
    "CheckpointError",
    "ConfigError",
    "FastVLM",
    "FastVLMError",
    "GenerationOptions",
    "GenerationResult",
    "HubError",
    "ImageError",
    "ImageInput",
    "JobError",
    "MemoryBudgetError",
    "OptionError",
    "Outcome",
    "PromptError",
    "Request",
    "TextStream",
    "Timings",
    "WriteError",
    "__version__",
    "load",
]

_HOMES = {
    "CacheStats": "caches.caches",
    "Chat": "chat",
    "FastVLM": "engine",
    "GenerationOptions": "options",
    "GenerationResult": "generation.generate",
    "ImageInput": "images.resolution",
    "Outcome": "request",
    "Request": "request",
    "TextStream": "generation.generate",
    "Timings": "generation.generate",
    "load": "engine",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
