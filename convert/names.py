"""THE table: what each source calls a tensor, and what the converter calls it.

The converter's own names are timm's for the tower (`stages.1.blocks.0.mlp.fc1`),
because timm numbers stages where Apple numbers positions in a list, and our
runtime's for projector and language model. Layouts are told apart by their keys.
Sources: apple/ml-fastvlm `mci.py` and `llava_qwen.py`; timm `fastvit.py`;
transformers `modeling_fast_vlm.py`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import CheckpointError

from .layout import torch_axes
from .source import Tensors

Layout = Literal[
    "llava_qwen2", "fast_vlm", "mlx_vlm", "apple_mlx", "mobileclip", "open_clip", "timm"
]

TOWER = "vision_tower."
PROJECTOR = "mm_projector."
LANGUAGE = "language_model."

# By layout: where a part begins in the source, and where in our names. First match
# wins, so the particular stands before the general. The first line is also what tells
# the layout: no other has such keys.
_PREFIXES: dict[Layout, tuple[tuple[str, str], ...]] = {
    # Apple's PyTorch repositories and zips; with a Llama inside, LLaVA-1.5's
    "llava_qwen2": (
        ("model.vision_tower.vision_tower.model.", TOWER),
        ("model.mm_projector.0.", PROJECTOR + "linear_1."),
        ("model.mm_projector.2.", PROJECTOR + "linear_2."),
        ("lm_head.", LANGUAGE + "lm_head."),
        ("model.", LANGUAGE + "model."),
    ),
    # transformers' own class
    "fast_vlm": (
        ("model.vision_tower.timm_model.", TOWER),
        ("model.multi_modal_projector.", PROJECTOR),
        ("lm_head.", LANGUAGE + "lm_head."),
        ("model.language_model.", LANGUAGE + "model."),
    ),
    # mlx-vlm and mlx-community
    "mlx_vlm": (
        ("vision_tower.vision_model.", TOWER),
        ("mm_projector.0.", PROJECTOR + "linear_1."),
        ("mm_projector.2.", PROJECTOR + "linear_2."),
        ("language_model.", LANGUAGE),
    ),
    # Apple's exports for its app, whose tower is a Core ML package
    "apple_mlx": (
        ("multi_modal_projector.linear_0.", PROJECTOR + "linear_1."),
        ("multi_modal_projector.linear_2.", PROJECTOR + "linear_2."),
        ("language_model.", LANGUAGE),
    ),
    # image encoders without a language model: MobileCLIP's, OpenCLIP's, timm's
    "mobileclip": (("image_encoder.model.", TOWER),),
    "open_clip": (("visual.trunk.", TOWER),),
    "timm": (("stem.", TOWER + "stem."), ("", TOWER)),
}

ENCODERS: tuple[Layout, ...] = ("mobileclip", "open_clip", "timm")
"""Layouts that hold a tower and nothing else that FastVLM uses."""

_MLX_AXES: tuple[Layout, ...] = ("mlx_vlm",)

# Apple's words for parts of the tower, and timm's. `network.N` is translated apart.
_WORDS: tuple[tuple[str, str], ...] = (
    ("patch_embed", "stem"),
    ("conv_exp", "final_conv"),
    ("convffn", "mlp"),
    ("rbr_conv", "conv_kxk"),
    ("rbr_scale", "conv_scale"),
    ("rbr_skip", "identity"),
    ("lkb_origin", "large_conv"),
    ("lkb_reparam", "reparam_conv"),
    ("pe", "pos_enc"),
    ("se.reduce", "se.fc1"),
    ("se.expand", "se.fc2"),
    ("layer_scale", "layer_scale.gamma"),
    ("layer_scale_1", "layer_scale_1.gamma"),
    ("layer_scale_2", "layer_scale_2.gamma"),
)
_TOWER_WORDS: dict[Layout, tuple[tuple[str, str], ...]] = {
    "llava_qwen2": _WORDS,
    "mobileclip": _WORDS,
    "mlx_vlm": (("patch_embed.blocks", "stem"), *_WORDS[1:]),
}

# What inference does not need, with the reason that the report gives.
_DROPPED: tuple[tuple[str, str], ...] = (
    (r"\.num_batches_tracked$", "BatchNorm's step counter, used in training only"),
    (r"^vision_tower\.head\.", "the CLIP head, which FastVLM does not use"),
    (r"\.rotary_emb\.inv_freq$", "recomputed from rope_theta"),
)
_NOT_THE_ENCODER = "no part of the image encoder"

_NETWORK = re.compile(r"network\.(\d+)\.(.*)")
_LARGE_KERNEL = re.compile(r"(network\.\d+\.proj\.0\.)reparam_conv")


@dataclass(frozen=True)
class Naming:
    """Translates between a checkpoint's names and the converter's, both ways."""

    layout: Layout
    stages: dict[int, str]  # Apple's positions in `network`, as timm's stages

    def ours(self, name: str) -> str:
        """The converter's name; an unknown name comes back unchanged."""
        for theirs, ours in _PREFIXES[self.layout]:
            if name.startswith(theirs):
                rest = name.removeprefix(theirs)
                return ours + (self._timm(rest) if ours == TOWER else rest)
        return name

    def theirs(self, name: str) -> str:
        """The checkpoint's name for one of ours, for messages about it."""
        for theirs, ours in _PREFIXES[self.layout]:
            if name.startswith(ours):
                rest = name.removeprefix(ours)
                return theirs + (self._apple(rest) if ours == TOWER else rest)
        return name

    def _timm(self, name: str) -> str:
        words = _TOWER_WORDS.get(self.layout)
        if words is None:
            return name
        if found := _NETWORK.match(name):
            name = self.stages[int(found[1])] + found[2]
        for apple, timm in words:
            name = _replace_word(name, apple, timm)
        return name

    def _apple(self, name: str) -> str:
        words = _TOWER_WORDS.get(self.layout)
        if words is None:
            return name
        for position, stage in self.stages.items():
            if name.startswith(stage):
                name = f"network.{position}.{name.removeprefix(stage)}"
        name = _LARGE_KERNEL.sub(r"\1lkb_reparam", name)
        for apple, timm in words:
            if apple != "lkb_reparam":  # only the large kernels are called so
                name = _replace_word(name, timm, apple)
        return name


def detect_layout(names: Iterable[str]) -> Layout:
    """Tell the layout by the keys that only it has.

    Raises:
        CheckpointError: neither a vision tower nor an export in a layout that is known.
    """
    names = list(names)
    for layout, prefixes in _PREFIXES.items():
        if any(name.startswith(prefixes[0][0]) for name in names):
            return layout
    first = f" (it begins with {names[0]})" if names else ""
    raise CheckpointError(
        f"No FastVLM vision tower among {len(names)} tensors{first}. Expected keys "
        f"under {' or '.join(prefixes[0][0] for prefixes in _PREFIXES.values())}."
    )


def rename(arrays: dict[str, mx.array]) -> tuple[Tensors, dict[str, str]]:
    """Give every tensor the converter's name, and PyTorch's axes.

    Returns:
        The tensors, and by source name the reason for each one dropped.

    Raises:
        CheckpointError: an unknown layout, or two tensors for one place.
    """
    layout = detect_layout(arrays)
    naming = Naming(layout, _stages(arrays, _PREFIXES[layout][0][0]))
    kept: dict[str, mx.array] = {}
    origins: dict[str, str] = {}
    dropped: dict[str, str] = {}
    for name, array in arrays.items():
        ours = naming.ours(name)
        if reason := _reason_to_drop(ours, layout):
            dropped[name] = reason
        elif ours in kept:
            raise CheckpointError(f"{origins[ours]} and {name} are the same tensor.")
        else:
            kept[ours], origins[ours] = array, name
    if layout in _MLX_AXES and _has_mlx_axes(kept):
        kept = {name: _turned(name, array) for name, array in kept.items()}
    # a name that follows no rule has no way back but the one it came
    tensors = Tensors(kept, lambda name: origins.get(name) or naming.theirs(name))
    return tensors, dropped


def _has_mlx_axes(arrays: dict[str, mx.array]) -> bool:
    """A depthwise kernel is (C, k, k, 1) in MLX and (C, 1, k, k) in PyTorch."""
    depthwise = arrays.get(f"{TOWER}stem.1.reparam_conv.weight")
    return depthwise is None or depthwise.shape[-1] == 1


def _turned(name: str, array: mx.array) -> mx.array:
    return torch_axes(array) if name.startswith(TOWER) else array


def _reason_to_drop(name: str, layout: Layout) -> str | None:
    for pattern, reason in _DROPPED:
        if re.search(pattern, name):
            return reason
    if layout in ENCODERS and not name.startswith(TOWER):
        return _NOT_THE_ENCODER
    return None


def _stages(names: Iterable[str], tower: str) -> dict[int, str]:
    """Map Apple's list positions to timm's stages.

    `network` is one list of block groups, with a downsample (`proj`) before each
    stage but the first, and between the two a RepCPE where the stage has one.
    """
    parts: dict[int, set[str]] = {}
    for name in names:
        if found := _NETWORK.match(name.removeprefix(tower)):
            parts.setdefault(int(found[1]), set()).add(found[2].split(".")[0])
    stage, stages = 0, {}
    for position in sorted(parts):
        stage += "proj" in parts[position]
        stages[position] = f"stages.{stage}.{_stage_part(parts[position])}."
    return stages


def _stage_part(parts: set[str]) -> str:
    if "proj" in parts:
        return "downsample"
    return "pos_emb" if parts & {"pe", "reparam_conv"} else "blocks"


def _replace_word(name: str, old: str, new: str) -> str:
    """Replace whole dotted parts only: `pe` is not in `pos_emb.pe` twice."""
    return re.sub(rf"(?<![^.]){re.escape(old)}(?![^.])", new, name)
