"""Checkpoint folders to damage: copies of the golden ones, and tools to alter them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

GOLDENS = Path(__file__).parents[1] / "goldens"
NAMES = ("apple-train", "apple-fused", "fast_vlm-train", "fast_vlm-fused")
INDEX = "model.safetensors.index.json"

Arrays = dict[str, NDArray[Any]]
Change = Callable[[Arrays], None]


def copy_golden(name: str, target: Path) -> Path:
    """A golden folder without its expectations, free to be altered."""
    shutil.copytree(
        GOLDENS / name, target, ignore=shutil.ignore_patterns("expected.safetensors")
    )
    return target


def arrays_of(folder: Path) -> Arrays:
    """All tensors of a folder, whatever the number of its files."""
    arrays: Arrays = {}
    for file in sorted(folder.glob("model*.safetensors")):
        arrays |= load_file(file)
    return arrays


def store(arrays: Arrays, folder: Path) -> None:
    """Replace a folder's tensors, in one file."""
    for file in folder.glob("model*.safetensors*"):
        file.unlink()
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(whole, folder / "model.safetensors")


def alter(folder: Path, change: Change) -> None:
    """Rewrite a folder's tensors after `change` has edited the dict."""
    arrays = arrays_of(folder)
    change(arrays)
    store(arrays, folder)


def edit_json(path: Path, **changes: Any) -> None:
    """Set keys of a JSON object; None removes them, a missing file is begun."""
    values = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    values |= changes
    kept = {key: value for key, value in values.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")
