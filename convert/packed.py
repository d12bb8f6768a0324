"""Weights that a source stores in few bits already: found, kept or unpacked.

mlx-lm, mlx-vlm and Apple's exporter store a quantized layer alike: `weight` in uint32,
`scales`, and `biases` in affine mode (mlx.core.quantize). How, config.json says under
`quantization`, with an entry of its own for a layer that is stored otherwise.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from fastvlm_mlx.config import Packing, QuantizationConfig
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import CheckpointError, ConfigError

from .layout import Weights
from .read import Tensors

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
