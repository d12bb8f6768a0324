"""In how many bits each weight is to be stored: numbers in, a Packing per weight out.

Names and shapes decide, never values. What each setting costs is measured by
`quality.py`; the choices below come from such figures (docs/decisions.md).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, get_args

from fastvlm_mlx.config import PACKINGS, Packing, QuantizationMode
from fastvlm_mlx.errors import OptionError

from .names import LANGUAGE, PROJECTOR, TOWER

Part = Literal["llm", "projector", "tower", "embed", "head"]
PARTS: tuple[Part, ...] = get_args(Part)

WHOLE = 16
"""The bits that say: leave this part as it is."""

BITS = (*PACKINGS["affine"][0], WHOLE)

OUTER_BITS = 6
"""The least that embedding and head get unasked: with 4 bits they add two thirds
to nano's divergence, with 6 next to nothing (benchmarks/README.md)."""

MIXED = {
    "mixed-2-6": (2, 6),
    "mixed-3-4": (3, 4),
    "mixed-3-6": (3, 6),
    "mixed-4-6": (4, 6),
    "mixed-4-8": (4, 8),
}
"""Recipes by name: bits of most matrices, and of those that matter more."""

_LAYER = re.compile(r"layers\.(\d+)\.(.+)\.weight$")
_SENSITIVE = ("self_attn.v_proj", "mlp.down_proj")


@dataclass(frozen=True)
class Recipe:
    """How to quantize. A part without bits of its own follows `bits`.

    Following means for `llm`, the matrices in the layers of the language model:
    exactly so many. `embed` and `head` get at least OUTER_BITS, `projector` and
    `tower` are left whole. A tied embedding is the head, too, and gets the larger of
    both numbers. A part with bits of its own is affine, whatever the mode.

    Raises:
        OptionError: no such packing in MLX, or settings that contradict each other.
    """

    bits: int | None = None  # None: what the mode has; affine without bits: WHOLE
    group_size: int | None = None  # None: 64, or what the mode has
    mode: QuantizationMode = "affine"
    sensitive_bits: int | None = None  # mixed: for what matters more in `llm`
    llm_bits: int | None = None
    projector_bits: int | None = None
    tower_bits: int | None = None
    embed_bits: int | None = None
    head_bits: int | None = None
    calibrate: bool = False  # round with a view to real activations (gptq.py)

    def __post_init__(self) -> None:
        self._check_mode()
        self._check_numbers()
        self._check_mixed()
        self._check_calibrate()
        if not any(self.packing(part) for part in PARTS):
            raise OptionError(
                "Nothing would be quantized; give --bits, --mode, --recipe or the bits "
                "of a part."
            )

    @classmethod
    def named(cls, name: str, **settings: Any) -> Self:
        """A mixed recipe by its name, with settings of `Recipe` added."""
        if name not in MIXED:
            raise OptionError(
                f"No recipe is called {name!r}; expected one of {', '.join(MIXED)}."
            )
        bits, sensitive_bits = MIXED[name]
        return cls(bits=bits, sensitive_bits=sensitive_bits, **settings)

    def packing(self, part: Part) -> Packing | None:
        """How a part's matrices are stored; None leaves them whole."""
        own: int | None = getattr(self, f"{part}_bits")
        if own is not None:
            return None if own == WHOLE else self._affine(own)
        if part in ("projector", "tower"):
            return None
        bits = self.bits or self._mode_bits
        if part in ("embed", "head") and bits < OUTER_BITS:
            return self._affine(OUTER_BITS)
        if self.mode != "affine":
            return Packing(bits, PACKINGS[self.mode][1][0], self.mode)
        return None if bits == WHOLE else self._affine(bits)

    def packings(self, names: Iterable[str]) -> dict[str, Packing]:
        """How each of a network's matrices is stored, those left whole left out."""
        names = list(names)
        more = self.sensitive_bits
        sensitive = _sensitive(names) if more else set()
        tied = not any(part_of(name) == "head" for name in names)
        found = {}
        for name in names:
            part = part_of(name)
            packing = self._tied if part == "embed" and tied else self.packing(part)
            if packing and more and name in sensitive:
                packing = replace(packing, bits=more)
            if packing:
                found[name] = packing
        return found

    @property
    def _tied(self) -> Packing | None:
        """An embedding that is the head, too, is stored as whichever needs more."""
        embed, head = self.packing("embed"), self.packing("head")
        if embed is None or head is None:
            return None
        return max(embed, head, key=lambda packing: packing.bits)

    @property
    def _mode_bits(self) -> int:
        """What leaving the bits out means."""
        return WHOLE if self.mode == "affine" else PACKINGS[self.mode][0][0]

    def _affine(self, bits: int) -> Packing:
        own = self.group_size if self.mode == "affine" else None
        return Packing(bits, own or Packing.group_size)

    def _check_numbers(self) -> None:
        stated = [self.bits, self.sensitive_bits]
        stated += [getattr(self, f"{part}_bits") for part in PARTS]
        for bits in stated:
            if bits is not None and bits not in BITS:
                raise OptionError(
                    f"{bits} bits; expected one of {', '.join(map(str, BITS))}, where "
                    f"{WHOLE} leaves weights as they are."
                )

    def _check_mode(self) -> None:
        if self.mode not in PACKINGS:
            raise OptionError(
                f"mode is {self.mode!r}; expected one of {', '.join(PACKINGS)}."
            )
        bits, group_sizes = PACKINGS[self.mode]
        if self.group_size not in (None, *group_sizes):
            raise OptionError(
                f"Groups of {self.group_size}; {self.mode} has groups of "
                f"{' or '.join(map(str, group_sizes))}."
            )
        if self.mode != "affine" and self.bits not in (None, *bits):
            raise OptionError(
                f"{self.bits} bits; {self.mode} has {bits[0]}. Leave the bits out, or "
                "choose another mode."
            )

    def _check_mixed(self) -> None:
        if self.sensitive_bits is None:
            return
        if self.mode != "affine" or self.llm_bits is not None:
            raise OptionError(
                "A mixed recipe is affine and has its own bits for the language model; "
                "leave the mode and --llm-bits out."
            )
        if self.bits is None or not self.bits < self.sensitive_bits < WHOLE:
            raise OptionError(
                f"A mixed recipe of {self.bits} and {self.sensitive_bits} bits; "
                "expected the second to be more, and less than 16."
            )

    def _check_calibrate(self) -> None:
        packing = self.packing("llm")
        if self.calibrate and (packing is None or packing.mode != "affine"):
            raise OptionError(
                "Calibrating is for the language model's layers in affine bits; give "
                "--bits, --llm-bits or --recipe with it, and no mode."
            )


def part_of(name: str) -> Part:
    """Which part of the network a weight belongs to."""
    if name.startswith(TOWER):
        return "tower"
    if name.startswith(PROJECTOR):
        return "projector"
    if name == f"{LANGUAGE}model.embed_tokens.weight":
        return "embed"
    return "head" if name == f"{LANGUAGE}lm_head.weight" else "llm"


def _sensitive(names: Iterable[str]) -> set[str]:
    """What a mixed recipe gives more bits.

    `v_proj` and `down_proj` in the first and the last eighth of the layers and in
    every third layer between them, as llama.cpp's Q4_K_M (`llama_tensor_get_type`)
    and mlx-lm's recipes have it; but never no layer at all in a small model.
    """
    placed = {
        name: (int(found[1]), found[2])
        for name in names
        if part_of(name) == "llm" and (found := _LAYER.search(name))
    }
    layers = 1 + max((layer for layer, _ in placed.values()), default=0)
    edge = max(1, layers // 8)
    return {
        name
        for name, (layer, module) in placed.items()
        if module in _SENSITIVE
        if layer < edge or layer >= layers - edge or (layer - edge) % 3 == 2
    }
