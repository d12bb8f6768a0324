"""What a caller may choose about one answer, checked once."""

from dataclasses import dataclass

from .config import ImageMode
from .errors import OptionError


@dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """How to look, how to sample and when to stop.

    Raises:
        OptionError: a value outside its range.
    """

    max_tokens: int = 256
    stop: tuple[str, ...] = ()  # strings that end the answer, themselves left out

    temperature: float = 0.0  # 0 takes the likeliest token every time
    top_p: float = 1.0  # keep the likeliest tokens up to this probability
    min_p: float = 0.0  # drop tokens under this share of the likeliest one
    top_k: int = 0  # keep this many tokens; 0 keeps all
    seed: int | None = None

    resolution: tuple[int, int] | None = None  # (H, W); None is the checkpoint's own
    image_mode: ImageMode | None = None  # None is the checkpoint's own

    def __post_init__(self) -> None:
        _require("max_tokens", self.max_tokens, self.max_tokens >= 1, "at least 1")
        _require("temperature", self.temperature, self.temperature >= 0, "0 or more")
        _require("top_p", self.top_p, 0 < self.top_p <= 1, "above 0, up to 1")
        _require("min_p", self.min_p, 0 <= self.min_p <= 1, "between 0 and 1")
        _require("top_k", self.top_k, self.top_k >= 0, "0 or more")
        _require("stop", self.stop, all(self.stop), "strings that are not empty")
        if self.seed is not None:
            _require("seed", self.seed, 0 <= self.seed < 1 << 64, "in [0, 2**64)")


def parse_resolution(text: str) -> tuple[int, int]:
    """ "512" or "512x768" (height x width) to (height, width) in pixels."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() for side in sides):
        raise OptionError(
            f"resolution is {text!r}; expected a number of pixels such as 512, "
            "or height x width such as 512x768."
        )
    return int(sides[0]), int(sides[-1])


def _require(name: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise OptionError(f"{name} is {value!r}; expected {expected}.")
