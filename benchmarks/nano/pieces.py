"""Weights in files small enough to be carried anywhere, and back.

In: named tensors. Out: a folder of safetensors files, each below a limit, in bfloat16
where the tensors are floats. A run can go on from them with a fresh optimizer.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

LIMIT = 15 * 2**20  # Bytes of the tensors in one file.
PATTERN = "piece-*.safetensors"


def save_pieces(tensors: Mapping[str, Tensor], folder: Path, limit: int = LIMIT) -> int:
    """Write tensors to a folder; return how many files it took.

    Raises:
        ValueError: a tensor alone is larger than the limit.
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
        FileNotFoundError: the folder holds no pieces.
    """
    paths = sorted(folder.glob(PATTERN))
    if not paths:
        raise FileNotFoundError(f"found no {PATTERN} in {folder}; expected weights")
    whole = {name: tensor for path in paths for name, tensor in load_file(path).items()}
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in whole.items()
    }


def _parts(tensors: Mapping[str, Tensor], limit: int) -> Iterator[dict[str, Tensor]]:
    """Yield groups of small tensors, in order, each group below the limit."""
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
    """Copy a tensor to the CPU, apart from all others, floats in bfloat16."""
    dtype = torch.bfloat16 if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", dtype, copy=True).contiguous()
