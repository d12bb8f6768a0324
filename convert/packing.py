"""Weights in few bits: those of a source found, kept or unpacked, others packed.

mlx-lm, mlx-vlm and Apple's exporter store a quantized layer alike: `weight` in uint32,
`scales`, and `biases` in affine mode (mlx.core.quantize). How, config.json says under
`quantization`, with an entry of its own for a layer that is stored otherwise.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastvlm_mlx.config import Packing, QuantizationConfig
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import CheckpointError, ConfigError, OptionError

from .layout import Weights
from .names import TOWER
from .recipe import Recipe, part_of
from .source import Tensors

FLOAT16_LOSS = 2.0**-9
"""How much of the tower's scales float16 may round away, relative."""

Packings = dict[str, Packing]
"""By the layer's name: `language_model.lm_head`."""


def find_packings(tensors: Tensors, values: Mapping[str, Any]) -> Packings:
    """How each packed layer of a checkpoint is stored.

    Args:
        tensors: under the converter's names.
        values: what config.json says.

    Raises:
        ConfigError: config.json says nothing of it, or what MLX does not have.
        CheckpointError: tensors that are not packed so.
    """
    layers = [
        name.removesuffix(".scales")
        for name in tensors.arrays
        if name.endswith(".scales")
    ]
    if not layers:
        return {}
    stated = _stated(tensors, values, layers[0])
    packings = {layer: _plain(stated.of(_path(tensors, layer))) for layer in layers}
    for layer, packing in packings.items():
        _check(tensors, layer, packing)
    return packings


def take_packed(
    tensors: Tensors, layer: str, shape: tuple[int, int], packing: Packing
) -> Weights:
    """A packed layer as it is; `shape` is that of the weights it stands for."""
    rows, columns = shape
    sizes = {
        "weight": (rows, columns * packing.bits // 32),
        "scales": (rows, columns // packing.group_size),
    }
    if packing.mode == "affine":
        sizes["biases"] = sizes["scales"]
    return {
        f"{layer}.{part}": tensors.take(f"{layer}.{part}", *size, packed=True)
        for part, size in sizes.items()
    }


def unpack(weights: Weights, packings: Packings) -> Weights:
    """The numbers that packed layers stand for, lazily; `weights` is not changed."""
    plain = dict(weights)
    for layer, packing in packings.items():
        weight, scales = (plain.pop(f"{layer}.{part}") for part in ("weight", "scales"))
        plain[f"{layer}.weight"] = mx.dequantize(
            weight,
            scales,
            plain.pop(f"{layer}.biases", None),
            packing.group_size,
            packing.bits,
            packing.mode,
        )
    return plain


def quantization_of(packings: Packings) -> QuantizationConfig | None:
    """What config.json says: the commonest packing, and the layers with another."""
    if not packings:
        return None
    ((usual, _),) = Counter(packings.values()).most_common(1)
    others = {layer: each for layer, each in packings.items() if each != usual}
    return QuantizationConfig(usual.bits, usual.group_size, usual.mode, others)


@dataclass(frozen=True)
class Plan:
    """What a recipe means for the matrices of one network."""

    chosen: Mapping[str, Packing]
    left: Mapping[str, str]  # matrix that the recipe covers -> why it stays whole


@dataclass(frozen=True)
class Packed:
    """Weights with their matrices packed."""

    weights: Weights
    config: QuantizationConfig | None  # None: nothing was chosen
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


def pack_chosen(
    weights: Weights,
    chosen: Mapping[str, Packing],
    packed: Mapping[str, Weights] | None = None,
) -> Packed:
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
    quantization = quantization_of(
        {name.removesuffix(".weight"): packing for name, packing in chosen.items()}
    )
    return Packed(done, quantization, _fits_float16(done, chosen))


def _stated(
    tensors: Tensors, values: Mapping[str, Any], layer: str
) -> QuantizationConfig:
    stated = values.get("quantization") or values.get("quantization_config")
    if not isinstance(stated, Mapping):
        raise ConfigError(
            f"{_path(tensors, layer)} is quantized, and config.json does not say how; "
            "expected its key quantization, with bits and group_size."
        )
    return QuantizationConfig.from_dict(stated)


def _plain(packing: Packing) -> Packing:
    """Without the exceptions, where it is the rule for all layers."""
    return Packing(packing.bits, packing.group_size, packing.mode)


def _path(tensors: Tensors, layer: str) -> str:
    """The name of a layer in its file."""
    return tensors.origin(f"{layer}.weight").removesuffix(".weight")


def _check(tensors: Tensors, layer: str, packing: Packing) -> None:
    """A row of packed bits and a row of scales must be as long as each other."""
    packed = tensors.shape(f"{layer}.weight", 2)
    scales = tensors.shape(f"{layer}.scales", 2)
    columns = packed[1] * 32 // packing.bits
    if tensors.arrays[f"{layer}.weight"].dtype != mx.uint32 or scales != (
        packed[0],
        columns // packing.group_size,
    ):
        raise CheckpointError(
            f"{_path(tensors, layer)} has packed weights {packed} and scales {scales}, "
            f"which are not {packing.bits} bits in groups of {packing.group_size}, as "
            "config.json says."
        )
    if (f"{layer}.biases" in tensors) != (packing.mode == "affine"):
        raise CheckpointError(
            f"{_path(tensors, layer)} does not fit the mode {packing.mode!r} of "
            "config.json: only affine layers have biases."
        )


def _reason_to_leave(array: mx.array, packing: Packing) -> str | None:
    if array.shape[1] % packing.group_size:
        return f"rows of {array.shape[1]}, groups of {packing.group_size}"
    return None


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
