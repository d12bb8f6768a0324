"""A checkpoint folder in, its tensors out, each to be taken once.

Files are safetensors, alone or in shards. Arrays are memory-mapped and lazy: until
something is written only headers have been read. Pickles are never opened.
"""

import json
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError, safe_open

from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import CheckpointError
from fastvlm_mlx.model_folder import INDEX_FILE, WEIGHTS_FILE, read_weight_map

OPEN_CLIP_FILE = "open_clip_model.safetensors"
"""What OpenCLIP calls the weights of an image encoder and its text encoder."""

_READABLE = ("F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8")

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_SHOWN = 6  # faults named in one error; the rest are counted

Shape = tuple[int, ...]


@dataclass
class Tensors:
    """Named arrays of a checkpoint, under the converter's names.

    `take` hands each out once. What is missing or misshapen is noted instead of
    raised, so that one error can name everything; `finish` raises it.
    """

    arrays: dict[str, mx.array]
    origin: Callable[[str], str]  # the name that each has in the file
    faults: list[str] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)  # file's name -> reason

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def names(self, pattern: str) -> list[re.Match[str]]:
        """Matches of a pattern with the beginnings of all names."""
        compiled = re.compile(pattern)
        return [found for name in self.arrays if (found := compiled.match(name))]

    def layer(self, name: str) -> list[str]:
        """What is stored of one layer: its weight, and scales and biases if packed."""
        parts = (f"{name}.{part}" for part in ("weight", "scales", "biases"))
        return [part for part in parts if part in self.arrays]

    def shape(self, name: str, axes: int) -> Shape:
        """The shape of a tensor that the architecture is read from."""
        if name not in self.arrays:
            raise CheckpointError(f"The checkpoint lacks {self.origin(name)}.")
        shape = tuple(self.arrays[name].shape)
        if len(shape) != axes:
            raise CheckpointError(
                f"{self.origin(name)} has the shape {shape}, expected {axes} axes."
            )
        return shape

    def take(self, name: str, *shape: int, packed: bool = False) -> mx.array:
        """The array of that shape, in the file's dtype; zeros if there is none.

        `packed` says that it is a part of a quantized layer, of which only the shape
        is known here.
        """
        array = self.arrays.pop(name, None)
        if array is None:
            self.faults.append(f"missing {self.origin(name)}")
            return mx.zeros(shape)
        if tuple(array.shape) != shape:
            self.faults.append(
                f"{self.origin(name)} has the shape {tuple(array.shape)}, "
                f"expected {shape}"
            )
            return mx.zeros(shape)
        if not packed and not mx.issubdtype(array.dtype, mx.floating):
            self.faults.append(
                f"{self.origin(name)} holds {_dtype_name(array)}, "
                "expected floating-point numbers"
            )
        return array

    def drop(self, name: str, reason: str) -> None:
        """Take a tensor out unused."""
        del self.arrays[name]
        self.dropped[self.origin(name)] = reason

    def finish(self) -> None:
        """Raise a CheckpointError that names whatever did not fit."""
        self.faults += [f"unknown {self.origin(name)}" for name in self.arrays]
        if self.faults:
            shown = "; ".join(self.faults[:_SHOWN])
            rest = len(self.faults) - _SHOWN
            more = f"; and {rest} more" if rest > 0 else ""
            raise CheckpointError(f"The checkpoint does not fit: {shown}{more}.")


def _dtype_name(array: mx.array) -> str:
    return str(array.dtype).removeprefix("mlx.core.")


def read_tensors(folder: Path) -> dict[str, mx.array]:
    """Every tensor of a folder's safetensors files, lazily.

    Raises:
        CheckpointError: no safetensors, a file cut off or damaged, a tensor that is
            in two files or that the index promises and no file has.
    """
    arrays: dict[str, mx.array] = {}
    for file in _files(folder):
        for name, array in _read_file(file).items():
            if name in arrays:
                raise CheckpointError(f"{name} is in two files, {file} being one.")
            arrays[name] = array
    _check_index(folder, arrays)
    return arrays


def file_metadata(file: Path) -> dict[str, str]:
    """What a safetensors file says of itself; its header alone is read.

    Raises:
        CheckpointError: it is damaged.
        OSError: it cannot be opened.
    """
    try:
        with safe_open(file, framework="numpy") as header:
            return header.metadata() or {}
    except SafetensorError as error:
        raise CheckpointError(_damaged(file, error)) from None


def _files(folder: Path) -> list[Path]:
    if (folder / INDEX_FILE).is_file():
        return [_present(folder, name) for name in shard_names(folder)]
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    if (folder / OPEN_CLIP_FILE).is_file():
        return [folder / OPEN_CLIP_FILE]
    raise CheckpointError(_nothing_to_read(folder))


def _nothing_to_read(folder: Path) -> str:
    pickles = _matches(folder, _PICKLES)
    if pickles:
        return (
            f"{folder} holds pickled weights ({pickles[0].name}), which can run code "
            "when opened and are refused. Save them as safetensors first, with "
            "torch.load(file, weights_only=True) and safetensors.torch.save_file."
        )
    others = _matches(folder, ("*.safetensors",))
    if others:
        return (
            f"{folder} has {others[0].name} but no {INDEX_FILE}; one file must be "
            f"called {WEIGHTS_FILE}, several need the index."
        )
    return f"{folder} has no {WEIGHTS_FILE} and no {INDEX_FILE}."


def _matches(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return sorted(file for pattern in patterns for file in folder.glob(pattern))


def shard_names(folder: Path) -> list[str]:
    """The files that an index names; it may not lead out of its folder."""
    names = sorted(set(read_weight_map(folder).values()))
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise CheckpointError(
                f"{INDEX_FILE} names {name!r}; expected a .safetensors file beside it."
            )
    return names


def _present(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise CheckpointError(f"{folder / name} is missing; {INDEX_FILE} names it.")
    return folder / name


def _read_file(file: Path) -> dict[str, mx.array]:
    try:
        with safe_open(file, framework="numpy") as header:  # checks the length, too
            _check_dtypes(file, header)
        _check_names(file)
        arrays = cast(dict[str, mx.array], mx.load(str(file), format="safetensors"))
    except OSError as error:
        raise CheckpointError(
            f"{file} cannot be read: {error.strerror or error}."
        ) from None
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise CheckpointError(_damaged(file, error)) from None
    return arrays


def _damaged(file: Path, error: Exception) -> str:
    return f"{file} is damaged or cut off ({error}). Download it again."


def _check_dtypes(file: Path, header: Any) -> None:
    """MLX has no double precision in files, and reads 8-bit floats as whole numbers."""
    for name in header.keys():
        dtype = header.get_slice(name).get_dtype()
        if dtype not in (*_READABLE, "BOOL"):
            raise CheckpointError(
                f"{name} in {file} is stored as {dtype}; expected F32, F16 or BF16. "
                "Save the checkpoint in one of them."
            )


def _check_names(file: Path) -> None:
    """A name that is there twice: readers silently take one of the two."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = stream.read(length)
    pairs: list[tuple[str, Any]] = json.loads(header, object_pairs_hook=list)
    names = Counter(name for name, _ in pairs)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise CheckpointError(f"{twice[0]} is in {file} twice; expected it once.")


def _check_index(folder: Path, arrays: dict[str, mx.array]) -> None:
    if not (folder / INDEX_FILE).is_file():
        return
    lost = [name for name in read_weight_map(folder) if name not in arrays]
    if lost:
        raise CheckpointError(
            f"{INDEX_FILE} promises {lost[0]} and {len(lost) - 1} more tensors that "
            "no file holds. Download the checkpoint again."
        )
