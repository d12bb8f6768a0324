"""A model as a checkpoint folder, as its half-size copy, or as weights in small files.

A checkpoint folder has what transformers' FastVLM checkpoints have. The small files,
"pieces", also hold the heads, in bfloat16.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from convert.mlx_vlm import preprocessor_values

from ..data.square import STRIDE
from ..data.tokenizer import IMAGE, save_tokenizer
from .model import NanoFastVLM

WEIGHTS = "model.safetensors"
LIMIT = 15 * 2**20  # bytes of the tensors in one piece
PATTERN = "piece-*.safetensors"
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
        resolution: side in pixels of the images that it is made for.
        trained_resolutions: all sides that training saw.
    """
    model.config.trained_resolutions = list(trained_resolutions) or [resolution]
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    _write_json(
        folder / "preprocessor_config.json",
        preprocessor_values((resolution, resolution)),
    )
    _write_json(folder / "processor_config.json", _processor())
    (folder / "README.md").write_text(CARD, encoding="utf-8")


def _processor() -> dict[str, Any]:
    return {
        "image_token": IMAGE,
        "num_additional_image_tokens": 0,
        "patch_size": STRIDE,
        "processor_class": "LlavaProcessor",
        "vision_feature_select_strategy": "full",
    }


def load_model(folder: Path) -> NanoFastVLM:
    """The model of a checkpoint folder, in float32."""
    model: NanoFastVLM = NanoFastVLM.from_pretrained(folder, dtype=torch.float32)
    return model


def save_half_copy(source: Path, target: Path) -> None:
    """Copy a checkpoint folder with its large weights rounded to float16.

    BatchNorm tensors, layer scales and buffers stay in float32: folding multiplies
    their rounding errors into every weight of a branch.
    """
    shutil.copytree(source, target, dirs_exist_ok=True)
    weights = load_file(source / WEIGHTS)
    halved = {
        name: tensor if _stays_whole(name, weights) else tensor.half()
        for name, tensor in weights.items()
    }
    save_file(halved, target / WEIGHTS, metadata={"format": "pt"})


def _stays_whole(name: str, weights: dict[str, Tensor]) -> bool:
    """Whether a tensor belongs to a BatchNorm, is a layer scale or an integer."""
    module, _, kind = name.rpartition(".")
    in_batch_norm = f"{module}.running_mean" in weights
    return in_batch_norm or kind == "gamma" or weights[name].dtype != torch.float32


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def save_pieces(tensors: Mapping[str, Tensor], folder: Path, limit: int = LIMIT) -> int:
    """Write tensors to files below a limit in bytes; the number of files.

    Raises:
        ValueError: a single tensor is larger than the limit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(PATTERN):
        stale.unlink()
    written = 0
    for written, part in enumerate(_parts(tensors, limit), start=1):
        save_file(part, folder / f"piece-{written:03d}.safetensors")
    return written


def load_pieces(folder: Path) -> dict[str, Tensor]:
    """Read all tensors back, floats as float32.

    Raises:
        FileNotFoundError: the folder has no pieces.
    """
    paths = sorted(folder.glob(PATTERN))
    if not paths:
        raise FileNotFoundError(
            f"found neither {WEIGHTS} nor {PATTERN} in {folder}; give a checkpoint "
            "folder, or one that --pieces wrote"
        )
    whole = {name: tensor for path in paths for name, tensor in load_file(path).items()}
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in whole.items()
    }


def _parts(tensors: Mapping[str, Tensor], limit: int) -> Iterator[dict[str, Tensor]]:
    part: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors.items():
        small = _small(tensor)
        if small.nbytes > limit:
            raise ValueError(f"{name} takes {small.nbytes} bytes; the limit is {limit}")
        if size + small.nbytes > limit:
            yield part
            part, size = {}, 0
        part[name] = small
        size += small.nbytes
    if part:
        yield part


def _small(tensor: Tensor) -> Tensor:
    dtype = torch.bfloat16 if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", dtype, copy=True).contiguous()
