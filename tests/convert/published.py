"""The layouts that others publish, made from a golden folder in Apple's layout.

Written from what mlx-vlm's `sanitize` and Apple's exporter do to names and axes,
without a look at convert/, so that the two check each other; `tests/peers` loads the
same folders with mlx-vlm itself.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from fastvlm_mlx.device.backend import mx
from tests.convert.folders import GOLDENS, Arrays, arrays_of, edit_json, store

APPLE_TOWER = "model.vision_tower.vision_tower.model."
TIMM_TOWER = "model.vision_tower.timm_model."
CONVS = ("reparam_conv", "conv.conv", "fc1", "fc2", "lkb_reparam", "reduce", "expand")

Quantization = dict[str, Any]
"""As in config.json: bits, group_size, and exceptions by path."""


def mlx_vlm_arrays(arrays: Arrays, axes: str = "mlx") -> Arrays:
    """Apple's tensors as mlx-vlm saves them; the tower must be in inference form."""
    found: Arrays = {}
    for name, array in arrays.items():
        if name.endswith("num_batches_tracked"):
            continue
        found[_mlx_vlm_name(name)] = _mlx_axes(name, array) if axes == "mlx" else array
    return found


def _mlx_vlm_name(name: str) -> str:
    if name.startswith(APPLE_TOWER):
        rest = name.removeprefix(APPLE_TOWER)
        rest = rest.replace("patch_embed.", "patch_embed.blocks.")
        return f"vision_tower.vision_model.{rest}"
    if name.startswith("model.mm_projector."):
        return name.removeprefix("model.")
    return f"language_model.{name}"


def _mlx_axes(name: str, array: Any) -> Any:
    if name.startswith(APPLE_TOWER) and array.ndim == 4:
        return array.transpose(0, 2, 3, 1)
    if ".layer_scale" in name:
        return array.transpose(1, 2, 0)
    return array


def export_arrays(arrays: Arrays) -> Arrays:
    """Apple's tensors as its exporter leaves them: no tower, other projector names."""
    found: Arrays = {}
    for name, array in arrays.items():
        if name.startswith("model.mm_projector."):
            found[f"multi_modal_projector.linear_{name.split('.', 2)[2]}"] = array
        elif not name.startswith(APPLE_TOWER):
            found[f"language_model.{name}"] = array
    return found


def quantize(arrays: Arrays, quantization: Quantization, layers: str) -> Arrays:
    """Pack the matrices whose names contain one of the words `layers`."""
    found: Arrays = {}
    for name, array in arrays.items():
        path = name.removesuffix(".weight")
        if not name.endswith(".weight") or not _packs(name, array, layers):
            found[name] = array
            continue
        settings = _settings(quantization, path)
        packed = mx.quantize(mx.array(array.astype(np.float32)), **settings)
        for part, value in zip(("weight", "scales", "biases"), packed, strict=False):
            found[f"{path}.{part}"] = np.array(value)
    return found


def unpacked(arrays: Arrays, quantization: Quantization) -> Arrays:
    """The numbers that packed layers stand for, in place of them."""
    found = dict(arrays)
    for path in [name[:-7] for name in arrays if name.endswith(".scales")]:
        packed = [found.pop(f"{path}.{part}", None) for part in PARTS]
        given: Any = [None if each is None else mx.array(each) for each in packed]
        whole: Any = mx.dequantize(*given, **_settings(quantization, path))
        found[f"{path}.weight"] = np.array(whole.astype(mx.float32))
    return found


PARTS = ("weight", "scales", "biases")


def _packs(name: str, array: Any, layers: str) -> bool:
    return array.ndim == 2 and any(word in name for word in layers.split())


def _settings(quantization: Quantization, path: str) -> dict[str, Any]:
    own = quantization.get(path)
    settings = own if isinstance(own, dict) else quantization
    return {
        key: settings[key] for key in ("bits", "group_size", "mode") if key in settings
    }


def write(folder: Path, arrays: Arrays, golden: str, **config: Any) -> Path:
    """A folder with other tensors than its golden one; None removes a config key."""
    shutil.copytree(
        GOLDENS / golden, folder, ignore=shutil.ignore_patterns("*.safetensors*")
    )
    store(arrays, folder)
    edit_json(folder / "config.json", **config)
    return folder


MLX_VLM_VISION_CONFIG: dict[str, Any] = {
    "cls_ratio": 2.0,
    "down_patch_size": 7,
    "down_stride": 2,
    "hidden_size": 1024,
    "image_size": 1024,
    "intermediate_size": 3072,
    "layer_scale_init_value": 1e-5,
    "mlp_ratios": [4] * 5,
    "model_type": "llava_qwen2",
    "num_classes": 1000,
    "patch_size": 64,
    "projection_dim": 768,
    "repmixer_kernel_size": 3,
    "token_mixers": ["repmixer"] * 3 + ["attention"] * 2,
}
"""What full folders of mlx-community say; `hidden_size` is not that of the features."""


def encoder(folder: Path, layout: str) -> Path:
    """The tower of a golden folder alone, as MobileCLIP, OpenCLIP or timm has it."""
    rules: dict[str, tuple[str, str, str, Iterable[str]]] = {
        "mobileclip": (
            "apple-train",
            APPLE_TOWER,
            "image_encoder.model.",
            ("text_encoder.embedding_layer.weight", "logit_scale"),
        ),
        "open_clip": (
            "fast_vlm-train",
            TIMM_TOWER,
            "visual.trunk.",
            ("text.token_embedding.weight", "logit_scale", "visual.head.proj.weight"),
        ),
        "timm": ("fast_vlm-train", TIMM_TOWER, "", ("head.fc.weight", "head.fc.bias")),
    }
    golden, theirs, prefix, others = rules[layout]
    arrays = {
        prefix + name.removeprefix(theirs): array
        for name, array in arrays_of(GOLDENS / golden).items()
        if name.startswith(theirs)
    }
    folder.mkdir()
    store({**arrays, **{name: np.ones((2, 2), np.float32) for name in others}}, folder)
    if layout == "open_clip":
        (folder / "model.safetensors").rename(folder / "open_clip_model.safetensors")
    return folder
