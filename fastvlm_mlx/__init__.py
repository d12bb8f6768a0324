"""FastVLM on MLX: ask an image a question on the machine in front of you.

>>> import fastvlm_mlx
>>> vlm = fastvlm_mlx.load("nano")
>>> vlm.generate("shape.png", "what color is the circle?").text
'red'

The names below are all that is public; `fastvlm_mlx.errors` has the errors by kind.
They are imported when first used, so that `fastvlm-mlx --help` does not wait for MLX.
Importing changes nothing of the process around this package; `load` does, and says so.
"""

import importlib
from typing import TYPE_CHECKING, Any

from . import errors
from .errors import FastVLMError
from .version import __version__

if TYPE_CHECKING:
    from .chat import Chat
    from .fastvlm import FastVLM, load
    from .generation.result import GenerationResult
    from .generation.text_stream import AsyncTextStream, TextStream
    from .options import GenerationOptions
    from .request import Outcome, Request

__all__ = [
    "AsyncTextStream",
    "Chat",
    "FastVLM",
    "FastVLMError",
    "GenerationOptions",
    "GenerationResult",
    "Outcome",
    "Request",
    "TextStream",
    "__version__",
    "errors",
    "load",
]

_HOMES = {
    "AsyncTextStream": "generation.text_stream",
    "Chat": "chat",
    "FastVLM": "fastvlm",
    "GenerationOptions": "options",
    "GenerationResult": "generation.result",
    "Outcome": "request",
    "Request": "request",
    "TextStream": "generation.text_stream",
    "load": "fastvlm",
}

FastVLMError.__module__ = __name__


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    found.__module__ = __name__  # what help and reprs show
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
