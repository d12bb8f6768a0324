"""Weights into few bits, as a recipe has it."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from fastvlm_mlx.config import Packing, QuantizationConfig
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import OptionError

from .layout import Weights
from .names import TOWER
from .recipe import Recipe, part_of

FLOAT16_LOSS = 2.0**-9
"""How much of the tower's scales float16 may round away, relative."""


@dataclass(frozen=True)
class Plan:
    """What a recipe means for the matrices of one network."""

    chosen: Mapping[str, Packing]
    left: Mapping[str, str]  # matrix that the recipe covers -> why it stays whole


@dataclass(frozen=True)
class Quantized:
    """Weights with their matrices packed."""

    weights: Weights
    config: QuantizationConfig
    fits_float16: bool  # the tower's scales and biases do, too


def plan(weights: Weights, recipe: Recipe) -> Plan:
    """Decide about every matrix, by its name and shape.

    Raises:
        OptionError: there is no matrix that can be packed so.
    """
    matrices = [name for name, array in weights.items() if array.ndim == 2]
    chosen, left = {}, {}
    for name, packing in recipe.packings(matrices).items():
        reason = _reason_to_leave(weights[name], packing)
        if reason:
            left[name] = reason
        else:
            chosen[name] = packing
    if not chosen:
        raise OptionError(
            "No matrix has rows that the groups divide; choose a smaller --group-size."
        )
    return Plan(chosen, left)


def pack(name: str, array: mx.array, packing: Packing) -> Weights:
    """Round a matrix to the nearest values that its groups can express.

    The tower's streams are carried times powers of two (rescale.py), which must make
    no difference, but MLX bounds scales from below; so there the exponent of the
    largest weight is kept apart meanwhile.
    """
    affine = packing.mode == "affine"
    scale = _power_of_two(array) if affine and name.startswith(TOWER) else 1.0
    packed, scales, *biases = mx.quantize(
        array / scale, packing.group_size, packing.bits, packing.mode
    )
    if not affine:
        return {"weight": packed, "scales": scales}
    return {"weight": packed, "scales": scales * scale, "biases": biases[0] * scale}


def quantize(
    weights: Weights,
    chosen: Mapping[str, Packing],
    packed: Mapping[str, Weights] | None = None,
) -> Quantized:
    """Replace each chosen matrix by its packed form.

    Args:
        packed: matrices that have been packed already, by name.
    """
    done: Weights = {}
    for name, array in weights.items():
        if name not in chosen:
            done[name] = array
            continue
        parts = (packed or {}).get(name) or pack(name, array, chosen[name])
        module = name.removesuffix("weight")
        done |= {f"{module}{part}": value for part, value in parts.items()}
    return Quantized(done, _config(chosen), _fits_float16(done, chosen))


def _reason_to_leave(array: mx.array, packing: Packing) -> str | None:
    if array.shape[1] % packing.group_size:
        return f"rows of {array.shape[1]}, groups of {packing.group_size}"
    return None


def _config(chosen: Mapping[str, Packing]) -> QuantizationConfig:
    """What most layers have is the rule; the others are stated one by one."""
    counts = Counter(chosen.values())
    rule = max(counts, key=lambda packing: counts[packing])
    return QuantizationConfig(
        rule.bits,
        rule.group_size,
        rule.mode,
        layers={
            name.removesuffix(".weight"): packing
            for name, packing in chosen.items()
            if packing != rule
        },
    )


def _power_of_two(array: mx.array) -> float:
    """The power of two at or below the largest absolute value; 1 for zeros."""
    largest = mx.abs(array).max().item()
    assert isinstance(largest, float)
    return math.ldexp(1.0, math.frexp(largest)[1] - 1) if largest else 1.0


def _fits_float16(packed: Weights, chosen: Mapping[str, Packing]) -> bool:
    """Scales are far smaller than weights, and the streams' powers of two add to it."""
    return all(
        _loss(packed[f"{name.removesuffix('weight')}{kind}"]) <= FLOAT16_LOSS
        for name, packing in chosen.items()
        if part_of(name) == "tower" and packing.mode == "affine"
        for kind in ("scales", "biases")
    )


def _loss(array: mx.array) -> float:
    """What rounding to float16 takes away, relative to the whole."""
    exact = array.astype(mx.float32)
    error = exact - array.astype(mx.float16).astype(mx.float32)
    loss = mx.linalg.norm(error) / mx.maximum(mx.linalg.norm(exact), 1e-30)
    value = loss.item()
    assert isinstance(value, float)
    return value
