"""What a caller may choose about one answer, checked once."""

import contextlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, Literal, Self, TypedDict, Unpack

from .config import GROUP_SIZES, IMAGE_MODES, ImageMode
from .errors import OptionError

_PLAIN: dict[type, Callable[[Any], Any]] = {Integral: int, Real: float}
"""What numbers become: MLX takes no others, such as NumPy's."""


@dataclass(frozen=True)
class Auto:
    """A resolution chosen for each image by its size ("auto", "auto:1536")."""

    at_most: int | None = None  # pixels of a side; None is the largest trained with


class Options(TypedDict, total=False):
    """The fields of GenerationOptions, as a caller may write them."""

    max_tokens: int
    stop: str | Sequence[str]
    temperature: float
    top_p: float
    min_p: float
    top_k: int
    seed: int | None
    resolution: int | str | tuple[int, int] | list[int] | Auto | None
    max_visual_tokens: int | None
    keep_aspect: bool
    anyres: bool
    image_mode: ImageMode | None
    exact_pixels: bool
    use_cache: bool | Literal["read"]
    prefill_step: int | None
    max_kv_size: int | None
    kv_bits: Literal[4, 8] | None
    kv_group_size: Literal[32, 64, 128]
    quantized_kv_start: int


@dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """How to look, how to sample and when to stop.

    Raises:
        OptionError: a value outside its range.
    """

    max_tokens: int = 256
    stop: tuple[str, ...] = ()  # strings that end the answer, themselves left out

    temperature: float = 0.0  # 0 takes the most probable token every time
    top_p: float = 1.0  # keep the most probable tokens up to this probability
    min_p: float = 0.0  # drop tokens under this share of the most probable one
    top_k: int = 0  # keep this many tokens; 0 keeps all
    seed: int | None = None

    # (H, W), or by each image's size; None is the checkpoint's own
    resolution: tuple[int, int] | Auto | None = None
    max_visual_tokens: int | None = None  # of each image; Auto keeps to it
    keep_aspect: bool = False  # frames of the images' own shape, no black bars
    anyres: bool = False  # an overview and 2x2 tiles: 5 times the tokens
    image_mode: ImageMode | None = None  # None is the checkpoint's own
    exact_pixels: bool = False  # decode even the largest JPEG in full

    # take up what earlier requests left and leave one's own; "read" leaves nothing
    use_cache: bool | Literal["read"] = True
    prefill_step: int | None = None  # positions at a time; None is by the memory
    max_kv_size: int | None = None  # positions kept; a longer answer forgets its start
    kv_bits: int | None = None  # keys and values in 8 or 4 bits; None keeps them
    kv_group_size: int = 64  # of them share a scale
    quantized_kv_start: int = 0  # positions before they are quantized

    def __post_init__(self) -> None:
        self._require("max_tokens", Integral, lambda n: n >= 1, "at least 1")
        self._require("temperature", Real, lambda t: 0 <= t < math.inf, "0 or more")
        self._require("top_p", Real, lambda p: 0 < p <= 1, "above 0, up to 1")
        self._require("min_p", Real, lambda p: 0 <= p <= 1, "between 0 and 1")
        self._require("top_k", Integral, lambda k: k >= 0, "0 or more")
        self._require("stop", tuple, _are_texts, "strings that are not empty")
        if self.seed is not None:
            self._require("seed", Integral, lambda n: 0 <= n < 1 << 64, "in [0, 2**64)")
        self._check_preprocessing()
        self._check_memory()

    def _check_preprocessing(self) -> None:
        if self.resolution is not None and not isinstance(self.resolution, Auto):
            self._require("resolution", tuple, _are_sides, "(height, width) in pixels")
            object.__setattr__(self, "resolution", tuple(map(int, self.resolution)))
        if self.image_mode is not None:
            modes = " or ".join(IMAGE_MODES)
            self._require("image_mode", str, lambda mode: mode in IMAGE_MODES, modes)
        for name in ("exact_pixels", "keep_aspect", "anyres"):
            self._require(name, bool, lambda _: True, "True or False")
        if self.max_visual_tokens is not None:
            self._require("max_visual_tokens", Integral, lambda n: n >= 1, "at least 1")
        self._check_resolution()

    def _check_resolution(self) -> None:
        """Refuse what two settings would decide."""
        resolution = self.resolution
        if self.max_visual_tokens is not None and not isinstance(resolution, Auto):
            raise OptionError(
                f"max_visual_tokens is {self.max_visual_tokens} and resolution "
                f"{_named(resolution)}; expected resolution auto, which keeps to it."
            )
        if not self.keep_aspect:
            return
        if isinstance(resolution, tuple) and resolution[0] != resolution[1]:
            raise OptionError(
                f"keep_aspect takes the shape from the image and resolution "
                f"{_named(resolution)} states one; expected one of them, or the longer "
                "side alone."
            )
        if self.image_mode is not None:
            raise OptionError(
                f"keep_aspect fills the frame and image_mode {self.image_mode!r} says "
                "how to fit another one; expected one of them."
            )

    def _check_memory(self) -> None:
        if self.use_cache != "read":
            self._require("use_cache", bool, lambda _: True, 'True, False or "read"')
        for name in ("prefill_step", "max_kv_size"):
            if getattr(self, name) is not None:
                self._require(name, Integral, lambda n: n >= 1, "at least 1")
        if self.kv_bits is not None:
            self._require("kv_bits", Integral, lambda n: n in (4, 8), "that is 4 or 8")
        self._require(
            "kv_group_size",
            Integral,
            lambda n: n in GROUP_SIZES,
            "that is 32, 64 or 128",
        )
        self._require("quantized_kv_start", Integral, lambda n: n >= 0, "0 or more")
        if self.kv_bits is not None and self.max_kv_size is not None:
            raise OptionError(
                f"kv_bits is {self.kv_bits} and max_kv_size {self.max_kv_size}; "
                "expected one of them: a window cannot be quantized."
            )

    @property
    def reads_cache(self) -> bool:
        """Whether what earlier requests encoded and read may be taken up."""
        return self.use_cache is not False

    @property
    def fills_cache(self) -> bool:
        """Whether what this request encodes and reads is kept for later ones."""
        return self.use_cache is True

    def _require(
        self, name: str, kind: type, holds: Callable[[Any], bool], expected: str
    ) -> None:
        value = getattr(self, name)
        if kind in _PLAIN and isinstance(value, kind):
            with contextlib.suppress(OverflowError):  # a fraction beyond any float
                value = _PLAIN[kind](value)
        if not isinstance(value, kind) or not holds(value):
            whole = "a whole number " if kind is Integral else ""
            found = getattr(self, name)
            raise OptionError(f"{name} is {found!r}; expected {whole}{expected}.")
        object.__setattr__(self, name, value)

    @classmethod
    def of(cls, **options: Unpack[Options]) -> Self:
        """From what a caller writes: `stop` may be one string, and `resolution` one
        number or a text such as "512x768", "auto" or "auto:1536".
        """
        given: dict[str, Any] = {**options}
        known = option_names()
        unknown = sorted(given.keys() - known)
        if unknown:
            raise OptionError(
                f"unknown option {', '.join(unknown)}; "
                f"expected {', '.join(sorted(known))}."
            )
        stop, resolution = given.get("stop"), given.get("resolution")
        if isinstance(stop, str | list):
            given["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
        if isinstance(resolution, Integral | str):
            given["resolution"] = _parsed(str(resolution))
        elif isinstance(resolution, list):
            given["resolution"] = tuple(resolution)
        return cls(**given)


def option_names() -> set[str]:
    """The fields of GenerationOptions."""
    return {field.name for field in fields(GenerationOptions)}


def _parsed(text: str) -> tuple[int, int] | Auto:
    """Auto, or (height, width) in pixels."""
    found = re.fullmatch(r"auto(?::([0-9]{1,9}))?", text)
    if found:
        return Auto(int(found[1]) if found[1] else None)
    if text.startswith("auto"):
        raise OptionError(
            f"resolution is {text[:40]!r}; expected auto, or auto and the longest side "
            "such as auto:1536."
        )
    return parse_resolution(text)


def parse_resolution(text: str) -> tuple[int, int]:
    """ "512" or "512x768" (height x width) to (height, width) in pixels."""
    found = re.fullmatch(r"([0-9]{1,9})(?:[xX]([0-9]{1,9}))?", text)
    if not found:
        shown = text if len(text) < 40 else f"{text[:40]}…"
        raise OptionError(
            f"resolution is {shown!r}; expected a number of pixels such as 512, "
            "or height x width such as 512x768."
        )
    return int(found[1]), int(found[2] or found[1])


def _named(resolution: tuple[int, int] | Auto | None) -> str:
    if isinstance(resolution, tuple):
        return f"{resolution[0]}x{resolution[1]}"
    return "not given" if resolution is None else "auto"


def _are_texts(values: tuple[object, ...]) -> bool:
    return all(isinstance(value, str) and value for value in values)


def _are_sides(values: tuple[object, ...]) -> bool:
    return len(values) == 2 and all(isinstance(side, Integral) for side in values)
