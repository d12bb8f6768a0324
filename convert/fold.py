"""A checkpoint of any layout in, the runtime's weights out, still lazy.

Every tensor of the source is accounted for: used once, or dropped for a reason.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mlx.utils import tree_flatten

from fastvlm_mlx.config import FastVLMConfig
from fastvlm_mlx.errors import CheckpointError, OptionError
from fastvlm_mlx.model.fastvlm import FastVLMModel

from .architecture import describe
from .layout import Weights
from .names import LANGUAGE, TOWER, rename
from .packing import Packings, find_packings, quantization_of, take_packed, unpack
from .rescale import Peaks, measure, rescale
from .source import Source, Tensors
from .tokenizer import TokenizerFiles, read_tokenizer
from .tower import fuse_tower

_SIZES = {896: "0.5B", 1536: "1.5B", 3584: "7B"}
"""Apple's PyTorch repositories, by the width of their language models."""


@dataclass(frozen=True)
class Folded:
    """A checkpoint in the runtime's terms."""

    weights: Weights
    config: FastVLMConfig
    packings: Packings  # of the layers that the source has in few bits
    files: TokenizerFiles
    peaks: Peaks | None  # of the tower's activations; None if it was folded before
    tensors_read: int
    dropped: Mapping[str, str]  # source name -> reason

    @property
    def parameters(self) -> int:
        """Weights of the network, whatever the bits that they are stored in."""
        whole = unpack(self.weights, self.packings)
        return sum(array.size for array in whole.values())


def fold(source: Source, tower: Source | None, source_name: str) -> Folded:
    """Read a checkpoint and fold branches, norms and scales into weights.

    Args:
        source: in any layout, or converted already.
        tower: another whose vision tower is used, where the source has none.
        source_name: what the result calls the source.

    Raises:
        FastVLMError: it is not whole, or not known.
    """
    if source.is_converted:
        return _folded_before(source, tower)
    arrays = source.tensors()
    tensors, dropped = rename(arrays)
    _check_parts(source, tensors, tower)
    tensors_read = len(arrays)
    packings = find_packings(tensors, source.config)
    if tower is not None:
        tensors_read += _add_tower(tensors, tower)
    files = read_tokenizer(source)
    _unpack_tower(tensors, packings)
    config = describe(source, tensors, files.tokens, source_name)
    rest = _rest(tensors, config, packings)
    weights = {**fuse_tower(tensors, config.vision_config), **rest}
    tensors.finish()
    packings = {layer: each for layer, each in packings.items() if _kept(layer, rest)}
    _check_folded(weights, packings, config)
    peaks = measure(weights, config.vision_config)
    weights = rescale(weights, config.vision_config, peaks.shifts)
    config = replace(
        _with_shifts(config, peaks), quantization=quantization_of(packings)
    )
    dropped |= tensors.dropped
    return Folded(weights, config, packings, files, peaks, tensors_read, dropped)


def read_tower(source: Source) -> Tensors:
    """The vision tower of a source: a FastVLM's, or an image encoder's alone.

    Raises:
        CheckpointError: it has none, or one that was folded already.
    """
    if source.is_converted:
        raise CheckpointError(
            f"{source.folder} is converted already; --tower needs a tower that is not "
            "folded. Give the original checkpoint."
        )
    tensors, _ = rename(source.tensors())
    tensors.arrays = {
        name: array for name, array in tensors.arrays.items() if name.startswith(TOWER)
    }
    if not tensors.arrays:
        raise CheckpointError(f"{source.folder} has no vision tower to take.")
    if any(name.endswith(".scales") for name in tensors.arrays):
        _unpack_tower(tensors, find_packings(tensors, source.config))
    return tensors


def _folded_before(source: Source, tower: Source | None) -> Folded:
    """A folder of our own: its weights as they are."""
    if tower is not None:
        raise OptionError(
            f"{source.folder} has its own vision tower; leave --tower out."
        )
    weights, config = source.tensors(), FastVLMConfig.from_dict(source.config)
    tensors = Tensors(dict(weights), lambda name: name)
    stated = {"quantization": config.quantization and config.quantization.to_dict()}
    packings = find_packings(tensors, stated)
    _check_folded(weights, packings, config)
    files = read_tokenizer(source)
    return Folded(weights, config, packings, files, None, len(weights), {})


def _check_parts(source: Source, tensors: Tensors, tower: Source | None) -> None:
    """A FastVLM is a tower and a language model; each must come from somewhere."""
    has_tower = bool(tensors.names(re.escape(TOWER)))
    if not tensors.names(re.escape(LANGUAGE)):
        raise CheckpointError(
            f"{source.folder} holds an image encoder and no language model. It can be "
            "the --tower of a checkpoint that lacks one."
        )
    if has_tower and tower is not None:
        raise OptionError(
            f"{source.folder} has its own vision tower; leave --tower out."
        )
    if not has_tower and tower is None:
        size = _SIZES.get(source.config.get("hidden_size", 0), "…")
        raise CheckpointError(
            f"{source.folder} has no vision tower: Apple's MLX exports keep it as a "
            "Core ML package. Take it from the matching PyTorch repository, with "
            f"--tower apple/FastVLM-{size} (a folder or a hub id)."
        )


def _add_tower(tensors: Tensors, tower: Source) -> int:
    """Put the tower of another source with the tensors; how many there were."""
    taken, ours = read_tower(tower), tensors.origin

    def origin(name: str) -> str:
        return (taken.origin if name.startswith(TOWER) else ours)(name)

    tensors.origin = origin
    tensors.arrays |= taken.arrays
    return len(taken.arrays)


def _unpack_tower(tensors: Tensors, packings: Packings) -> None:
    """Folding needs numbers; what was lost to few bits stays lost."""
    mine = {layer: each for layer, each in packings.items() if layer.startswith(TOWER)}
    tensors.arrays = unpack(tensors.arrays, mine)


def _rest(tensors: Tensors, config: FastVLMConfig, packings: Packings) -> Weights:
    """Projector and language model: the same tensors under other names."""
    weights: Weights = {}
    for name, array in network(config).items():
        layer, _, part = name.rpartition(".")
        if name.startswith(TOWER):
            continue
        if part == "weight" and layer in packings:
            rows, columns = array.shape
            weights |= take_packed(tensors, layer, (rows, columns), packings[layer])
        else:
            weights[name] = tensors.take(name, *array.shape)
    return weights


def _kept(layer: str, rest: Weights) -> bool:
    return f"{layer}.scales" in rest


def _with_shifts(config: FastVLMConfig, peaks: Peaks) -> FastVLMConfig:
    vision = replace(config.vision_config, stream_shifts=peaks.shifts)
    return replace(config, vision_config=vision, fits_float16=peaks.fits_float16)


def _check_folded(weights: Weights, packings: Packings, config: FastVLMConfig) -> None:
    """The runtime must find what it needs, in the shapes that it needs."""
    expected = {name: array.shape for name, array in network(config).items()}
    whole = unpack(weights, packings)
    found = {name: array.shape for name, array in whole.items()}
    if found != expected:
        wrong = sorted(found.items() ^ expected.items())
        raise CheckpointError(f"The folded weights do not fit the model: {wrong[:4]}.")


def network(config: FastVLMConfig) -> Weights:
    """Names and shapes of the network; its arrays are never computed."""
    return dict(tree_flatten(FastVLMModel(config).parameters()))
