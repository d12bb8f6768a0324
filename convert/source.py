"""A checkpoint folder in, its JSON files and tensors out, each read once.

Weights are safetensors, alone or in shards. Arrays are memory-mapped and lazy: until
something is written only headers have been read. Pickles are never opened.
"""

import functools
import json
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError, safe_open

from fastvlm_mlx.config import STAMP
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import CheckpointError, ConfigError, quoted
from fastvlm_mlx.model_folder import (
    CONFIG_FILE,
    INDEX_FILE,
    WEIGHTS_FILE,
    read_json,
    weight_map,
)

OPEN_CLIP_FILE = "open_clip_model.safetensors"
"""What OpenCLIP calls the weights of an image encoder and its text encoder."""

_READABLE = ("F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8")

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_SHOWN = 6  # faults named in one error; the rest are counted

_FRONT_MATTER = re.compile(r"---\n(.*?)^---", re.DOTALL | re.MULTILINE)
_LICENSE = re.compile(r"^(license|license_name): *[\"']?([\w.-]+)", re.MULTILINE)

Json = Mapping[str, Any]
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


class Source:
    """A checkpoint's folder, of any layout. What was read of it is not read again.

    The weights are not kept here, so that each can be freed when it has been used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, Json] = {}

    @property
    def name(self) -> str:
        """What the folder is called."""
        return self.folder.name

    @property
    def config(self) -> Json:
        """config.json, which a model must have and an image encoder need not.

        Raises:
            ConfigError: it is missing or damaged.
        """
        if not self.has(CONFIG_FILE):
            raise ConfigError(f"{self.folder / CONFIG_FILE} is missing.")
        return self.json(CONFIG_FILE)

    @property
    def is_converted(self) -> bool:
        """Whether it is in this package's own format, by its stamp."""
        return STAMP in self.json(CONFIG_FILE)

    @functools.cached_property
    def weight_map(self) -> dict[str, str]:
        """Which file each tensor is in; nothing where there is no index."""
        if not self.has(INDEX_FILE):
            return {}
        return weight_map(self.json(INDEX_FILE), self.folder)

    @functools.cached_property
    def license(self) -> str:
        """The licence that the model card's front matter names; "" if it names none."""
        found = _FRONT_MATTER.match(self.text("README.md") or "")
        stated = dict(_LICENSE.findall(found[1] if found else ""))
        # next to a name of its own a licence is called "other"
        return stated.get("license_name") or stated.get("license") or ""

    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return (self.folder / name).is_file()

    def json(self, name: str) -> Json:
        """The object in a JSON file; an empty one where there is no such file.

        Raises:
            ConfigError: it is damaged, or no object.
        """
        if name not in self._read:
            self._read[name] = read_json(self.folder / name) if self.has(name) else {}
        return self._read[name]

    def text(self, name: str) -> str | None:
        """The text of a file; None where there is no such file.

        Raises:
            CheckpointError: it is not UTF-8, or may not be read.
        """
        if not self.has(name):
            return None
        try:
            return (self.folder / name).read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(_unreadable(self.folder / name, error)) from None

    def license_texts(self) -> dict[str, bytes]:
        """The licences in the folder, by the names of their files.

        Raises:
            CheckpointError: one may not be read.
        """
        found = {}
        for file in sorted(self.folder.glob("LICENSE*")):
            if file.is_file():
                try:
                    found[file.name] = file.read_bytes()
                except OSError as error:
                    raise CheckpointError(_unreadable(file, error)) from None
        return found

    def tensors(self) -> dict[str, mx.array]:
        """Every tensor of the folder's safetensors files, lazily.

        Raises:
            CheckpointError: no safetensors, a file cut off or damaged, a tensor that
                is in two files or that the index promises and no file has.
        """
        arrays: dict[str, mx.array] = {}
        for file in self._weight_files():
            for name, array in _read_file(file).items():
                if name in arrays:
                    raise CheckpointError(f"{name} is in two files, {file} being one.")
                arrays[name] = array
        self._check_index(arrays)
        return arrays

    def shard_names(self) -> list[str]:
        """The files that the index names; it may not lead out of its folder."""
        names = sorted(set(self.weight_map.values()))
        for name in names:
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise CheckpointError(
                    f"{INDEX_FILE} names {quoted(name)}; expected a .safetensors file "
                    "next to it."
                )
        return names

    def _weight_files(self) -> list[Path]:
        if self.has(INDEX_FILE):
            return [self._present(name) for name in self.shard_names()]
        for name in (WEIGHTS_FILE, OPEN_CLIP_FILE):
            if self.has(name):
                return [self.folder / name]
        raise CheckpointError(_nothing_to_read(self.folder))

    def _present(self, name: str) -> Path:
        if not self.has(name):
            raise CheckpointError(
                f"{self.folder / name} is missing; {INDEX_FILE} names it."
            )
        return self.folder / name

    def _check_index(self, arrays: Mapping[str, mx.array]) -> None:
        lost = [name for name in self.weight_map if name not in arrays]
        if lost:
            raise CheckpointError(
                f"{INDEX_FILE} promises {lost[0]} and {len(lost) - 1} more tensors "
                "that no file holds. Download the checkpoint again."
            )


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


def _read_file(file: Path) -> dict[str, mx.array]:
    try:
        with safe_open(file, framework="numpy") as header:  # checks the length, too
            _check_dtypes(file, header)
        _check_names(file)
        arrays = cast(dict[str, mx.array], mx.load(str(file), format="safetensors"))
    except OSError as error:
        raise CheckpointError(_unreadable(file, error)) from None
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise CheckpointError(_damaged(file, error)) from None
    return arrays


def _unreadable(file: Path, error: OSError | UnicodeDecodeError) -> str:
    reason = error.strerror if isinstance(error, OSError) else None
    return f"{file} cannot be read: {reason or error}."


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
