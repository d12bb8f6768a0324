"""A trained nano model to a checkpoint folder, to its half-size copy, and back.

In: model and tokenizer. Out: a folder as transformers' FastVLM checkpoints have it:
weights, config, generation config, tokenizer, preprocessor, processor, and a card.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from benchmarks.nano.architecture import NanoFastVLM
from benchmarks.nano.presets import STRIDE
from benchmarks.nano.tokenizer import IMAGE, save_tokenizer

WEIGHTS = "model.safetensors"
CARD = """\
---
license: mit
---

A small FastVLM in train form, trained from scratch by `benchmarks/nano` of fastvlm-mlx.
"""


def save_checkpoint(
    model: NanoFastVLM,
    tokenizer: Tokenizer,
    resolution: int,
    folder: Path,
    trained_resolutions: Sequence[int] = (),
) -> None:
    """Write a complete checkpoint folder in float32.

    Args:
        resolution: side of the pictures that it is made for, in pixels.
        trained_resolutions: all sides that training saw.
    """
    model.config.trained_resolutions = list(trained_resolutions) or [resolution]
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    _write_json(folder / "preprocessor_config.json", _preprocessor(resolution))
    _write_json(folder / "processor_config.json", _processor())
    (folder / "README.md").write_text(CARD, encoding="utf-8")


def _preprocessor(resolution: int) -> dict[str, Any]:
    return {
        "crop_size": {"height": resolution, "width": resolution},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.0, 0.0, 0.0],
        "image_processor_type": "CLIPImageProcessor",
        "image_std": [1.0, 1.0, 1.0],
        "processor_class": "LlavaProcessor",
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": resolution},
    }


def _processor() -> dict[str, Any]:
    return {
        "image_token": IMAGE,
        "num_additional_image_tokens": 0,
        "patch_size": STRIDE,
        "processor_class": "LlavaProcessor",
        "vision_feature_select_strategy": "full",
    }


def load_model(folder: Path) -> NanoFastVLM:
    """Read the model of a checkpoint folder, in float32."""
    model: NanoFastVLM = NanoFastVLM.from_pretrained(folder, dtype=torch.float32)
    return model


def save_half_copy(source: Path, target: Path) -> None:
    """Copy a checkpoint folder with its large weights rounded to float16.

    BatchNorm tensors, layer scales and buffers stay in float32: they are few, and
    folding them multiplies their rounding errors into every weight of a branch.
    """
    shutil.copytree(source, target, dirs_exist_ok=True)
    weights = load_file(source / WEIGHTS)
    halved = {
        name: tensor if _stays_whole(name, weights) else tensor.half()
        for name, tensor in weights.items()
    }
    save_file(halved, target / WEIGHTS, metadata={"format": "pt"})


def _stays_whole(name: str, weights: dict[str, Tensor]) -> bool:
    """Say whether a tensor belongs to a BatchNorm, is a layer scale or an integer."""
    module, _, kind = name.rpartition(".")
    in_batch_norm = f"{module}.running_mean" in weights
    return in_batch_norm or kind == "gamma" or weights[name].dtype != torch.float32


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
