"""A converted folder in, a model with its weights out; strictly."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import mlx.nn as nn
from mlx.utils import tree_flatten

from .config import FORMAT_VERSION, STAMP, FastVLMConfig, Packing
from .device.backend import current, mx, pick_dtype
from .device.memory import memory_size
from .device.setup import configure
from .errors import CheckpointError
from .model.dequantize import prepare
from .model.fastvlm import FastVLMModel
from .model.fused_projections import join_projections
from .model_folder import INDEX_FILE, WEIGHTS_FILE, read_weight_map

Weights = Mapping[str, mx.array]


READ_BYTES = 1 << 28
"""Weights that are read at a time. All at once, MLX would hold every tensor twice, as
it is in the file and as it is computed in."""


def load_model(
    folder: Path,
    config: FastVLMConfig,
    dtype: str | None = None,
    limit: int | None = None,
    before_reading: Callable[[FastVLMModel], None] = lambda _: None,
) -> FastVLMModel:
    """Build the network of a converted folder and give it its weights.

    Args:
        config: of the folder, read before (`model_folder.load_config`).
        limit: bytes that all may take; None is the machine's.
        before_reading: called with the network when its weights have their final
            shapes and none is in memory yet.
        dtype: "float32", "bfloat16" or "float16" to compute in; None picks the
            backend's own. Scales and biases of quantized layers follow it, since
            they decide what the layer's output is.

    Raises:
        CheckpointError: the folder is not whole.
    """
    weights = _read_weights(folder)
    model = _assemble(config, weights, str(folder), dtype)
    del weights  # or it would keep them as they are in the file
    suit_backend(model, limit)
    before_reading(model)
    _read(model, str(folder))
    return model


def build_model(
    config: FastVLMConfig, weights: Weights, source: str, dtype: str | None = None
) -> FastVLMModel:
    """Give a network its weights; `source` is what errors call the place they are from.

    Raises:
        CheckpointError: they are not those of the network.
    """
    model = _assemble(config, weights, source, dtype)
    if (
        current() == "cpu"
    ):  # elsewhere projections stay apart, as calibrating needs them
        suit_backend(model)
    _read(model, source)
    return model


def suit_backend(model: FastVLMModel, limit: int | None = None) -> None:
    """Give a network the form that this backend computes fastest.

    On the CPU quantized layers become dense, or are unpacked on their way; elsewhere
    projections of the same input are joined.

    Args:
        limit: bytes that the network may take; None is the machine's.
    """
    if current() == "cpu":
        prepare(model, model.embed_dtype, limit or memory_size())
    else:
        join_projections(model.language_model)


def _assemble(
    config: FastVLMConfig,
    weights: Weights,
    source: str,
    dtype: str | None,
) -> FastVLMModel:
    """The network with its weights as they are stored, none of them computed."""
    configure()
    model = _build(config, weights)
    _check(model, weights, config, source)
    target = pick_dtype(dtype, config.fits_float16)
    model.load_weights(
        [(name, _cast(array, target)) for name, array in weights.items()]
    )
    model.eval()
    return model


def _read(model: FastVLMModel, source: str) -> None:
    """Read what MLX has only noted the place of, the tower first."""
    waiting: list[mx.array] = []
    weights: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
    try:
        for array in weights.values():
            waiting.append(array)
            if sum(each.nbytes for each in waiting) >= READ_BYTES:
                mx.eval(waiting)
                waiting = []
        mx.eval(waiting)
    except RuntimeError as error:  # a file that became shorter meanwhile
        raise CheckpointError(
            f"{source}: the weights cannot be read: {error}"
        ) from None


def _build(config: FastVLMConfig, weights: Weights) -> FastVLMModel:
    model = FastVLMModel(config)
    quantization = config.quantization
    if quantization is None:
        return model

    def packing(path: str, _: nn.Module) -> bool | dict[str, Any]:
        # the file says which layers are quantized, the config how
        if f"{path}.scales" not in weights:
            return False
        return _settings(quantization.of(path))

    try:
        nn.quantize(model, class_predicate=packing)
    except ValueError as error:  # groups that do not divide a layer's rows
        raise CheckpointError(
            f"The quantization in config.json does not fit its model: {error}"
        ) from None
    return model


def _settings(packing: Packing) -> dict[str, Any]:
    """A packing in the terms of nn.Module.to_quantized."""
    return {
        "bits": packing.bits,
        "group_size": packing.group_size,
        "mode": packing.mode,
    }


def _read_weights(folder: Path) -> dict[str, mx.array]:
    weights: dict[str, mx.array] = {}
    for file in _weight_files(folder):
        try:
            arrays, metadata = cast(
                tuple[dict[str, mx.array], dict[str, str]],
                mx.load(str(file), return_metadata=True),
            )
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(f"{file} cannot be read: {error}") from None
        if metadata.get(STAMP) != str(FORMAT_VERSION):
            raise CheckpointError(
                f"{file} has {STAMP} {metadata.get(STAMP)!r}, expected "
                f"{str(FORMAT_VERSION)!r}. Convert the original checkpoint again."
            )
        weights.update(arrays)
    return weights


def _weight_files(folder: Path) -> list[Path]:
    if (folder / INDEX_FILE).is_file():
        names = set(read_weight_map(folder).values())
    else:
        names = {WEIGHTS_FILE}
    files = [folder / Path(name).name for name in sorted(names)]
    for file in files:
        if not file.is_file():
            raise CheckpointError(f"{file} is missing; convert the checkpoint again.")
    return files


def _check(
    model: FastVLMModel, weights: Weights, config: FastVLMConfig, source: str
) -> None:
    """Name everything missing, extra or misshapen, instead of the first only."""
    expected = dict(tree_flatten(model.parameters()))
    quantized = config.quantization.layers if config.quantization else {}
    faults = [
        f"config.json has a quantization for {path}, which is not quantized"
        for path in quantized
        if f"{path}.scales" not in expected
    ]
    faults += [f"missing {name}" for name in expected if name not in weights]
    faults += [f"unknown {name}" for name in weights if name not in expected]
    faults += [
        f"{name} has the shape {weights[name].shape}, expected {array.shape}"
        for name, array in expected.items()
        if name in weights and weights[name].shape != array.shape
    ]
    faults += [
        f"{name} holds {weights[name].dtype}, expected {array.dtype}"
        for name, array in expected.items()
        if name in weights and _is_float(weights[name]) != _is_float(array)
    ]
    if faults:
        shown = "; ".join(faults[:5])
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise CheckpointError(f"{source} does not hold its model: {shown}{more}.")


def _cast(array: mx.array, dtype: mx.Dtype) -> mx.array:
    return array.astype(dtype) if _is_float(array) else array


def _is_float(array: mx.array) -> bool:
    return bool(mx.issubdtype(array.dtype, mx.floating))
