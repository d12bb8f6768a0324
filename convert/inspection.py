"""What a folder holds, read from its headers: no weight is loaded."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from fastvlm_mlx.config import FastVLMConfig, TextConfig
from fastvlm_mlx.device.backend import mx

from .architecture import describe, read_text_config
from .names import LANGUAGE, PROJECTOR, TOWER, detect_layout, rename
from .packing import Packings, find_packings
from .source import Source, Tensors
from .tokenizer import read_tokenizer

RESOLUTIONS = (256, 384, 512, 768, 1024, 1536)
"""Sides of square images that tokens are counted for, where the stride allows."""

_FOLDS = {
    "BatchNorms": r"running_var$",
    "layer scales": r"\.gamma$",
    "LayerNorms": r"blocks\.\d+\.norm\.weight$",
    "training branches": (
        r"(conv_kxk\.\d+\.conv|conv_scale\.conv|identity|large_conv\.conv|"
        r"small_conv\.conv|pos_enc)\.weight$"
    ),
}
"""What conversion folds into neighbouring weights, by the names that it has."""


@dataclass(frozen=True)
class Part:
    """One part of the network as it is stored."""

    name: str
    parameters: int  # whatever the bits that they are stored in
    stored_bytes: int
    dtypes: tuple[str, ...]  # of packed layers: "4 bits"

    @property
    def bits_per_weight(self) -> float:
        """Stored bits per parameter, scales and biases included."""
        return 8 * self.stored_bytes / self.parameters


@dataclass(frozen=True)
class Inspection:
    """What a folder holds."""

    layout: str  # "fused", or what the source's layout is called in names.py
    parts: tuple[Part, ...]
    text: TextConfig | None  # None: an image encoder alone
    config: FastVLMConfig | None  # None: a part is missing
    tokens: Mapping[int, int]  # by the side of a square image
    folds: Mapping[str, int]  # what conversion will fold, and how many
    dropped: Mapping[str, str]  # source name -> reason
    source: str
    license: str

    @property
    def missing(self) -> str | None:
        """What a whole FastVLM has and this folder has not."""
        if self.text is None:
            return "a language model"
        return None if self.config else "a vision tower"


def inspect_folder(folder: Path) -> Inspection:
    """Look at a folder of any layout, or of our own.

    Raises:
        FastVLMError: it is no model, or damaged.
    """
    source = Source(folder)
    if source.is_converted:
        return _inspect_converted(source)
    arrays = source.tensors()
    tensors, dropped = rename(arrays)
    has_text = bool(tensors.names(re.escape(LANGUAGE)))
    packings = find_packings(tensors, source.config if has_text else {})
    parts = _parts(tensors.arrays, packings)
    folds = _folds(tensors.arrays)
    text = read_text_config(source) if has_text else None
    config = _config(source, tensors) if has_text and _has_tower(tensors) else None
    return Inspection(
        layout=detect_layout(arrays),
        parts=parts,
        text=config.text_config if config else text,
        config=config,
        tokens=_tokens(config),
        folds=folds,
        dropped={**dropped, **tensors.dropped},
        source=source.name,
        license=source.license,
    )


def _inspect_converted(source: Source) -> Inspection:
    config, arrays = FastVLMConfig.from_dict(source.config), source.tensors()
    tensors = Tensors(arrays, lambda name: name)
    stated = {"quantization": config.quantization and config.quantization.to_dict()}
    return Inspection(
        layout="fused",
        parts=_parts(arrays, find_packings(tensors, stated)),
        text=config.text_config,
        config=config,
        tokens=_tokens(config),
        folds={},
        dropped={},
        source=config.source,
        license=config.license,
    )


def _has_tower(tensors: Tensors) -> bool:
    return bool(tensors.names(re.escape(TOWER)))


def _config(source: Source, tensors: Tensors) -> FastVLMConfig:
    return describe(source, tensors, read_tokenizer(source).tokens, source.name)


def _tokens(config: FastVLMConfig | None) -> dict[int, int]:
    if config is None:
        return {}
    vision = config.vision_config
    return {
        side: vision.num_tokens((side, side))
        for side in sorted({*RESOLUTIONS, *vision.image_size})
        if side % vision.stride == 0
    }


def _folds(names: Iterable[str]) -> dict[str, int]:
    tower = [name for name in names if name.startswith(TOWER)]
    counts = {
        what: sum(bool(re.search(pattern, name)) for name in tower)
        for what, pattern in _FOLDS.items()
    }
    return {what: count for what, count in counts.items() if count}


def _parts(arrays: Mapping[str, mx.array], packings: Packings) -> tuple[Part, ...]:
    grouped: dict[str, list[str]] = {}
    for name in arrays:
        grouped.setdefault(_part(name), []).append(name)
    return tuple(
        _measure(part, {name: arrays[name] for name in names}, packings)
        for part, names in sorted(grouped.items(), key=lambda item: _place(item[0]))
    )


def _part(name: str) -> str:
    if name.startswith(TOWER):
        stage = re.match(r"stages\.\d+", name.removeprefix(TOWER))
        last = "conv_exp" if "conv" in name.split(".")[1] else name.split(".")[1]
        return f"tower {stage[0].replace('stages.', 'stage ') if stage else last}"
    if name.startswith(PROJECTOR):
        return "projector"
    if name.startswith(f"{LANGUAGE}model.embed_tokens"):
        return "embedding"
    return "head" if name.startswith(f"{LANGUAGE}lm_head") else "layers"


def _place(part: str) -> tuple[int, str]:
    after = ("tower stem", "tower stage", "tower", "projector", "embedding", "layers")
    place = [part.startswith(each) for each in after]
    return (place.index(True) if any(place) else len(after), part)


def _measure(part: str, arrays: Mapping[str, Any], packings: Packings) -> Part:
    parameters, dtypes = 0, set()
    for name, array in arrays.items():
        layer, _, kind = name.rpartition(".")
        packing = packings.get(layer)
        if packing is None or kind == "bias":
            parameters += prod(array.shape)
            dtypes.add(str(array.dtype).removeprefix("mlx.core."))
        elif kind == "weight":
            parameters += prod(array.shape) * 32 // packing.bits
            dtypes.add(f"{packing.bits} bits")
    stored = sum(array.nbytes for array in arrays.values())
    return Part(part, parameters, stored, tuple(sorted(dtypes)))
