"""A prompt already read, in a file: `--prompt-cache`.

safetensors: keys and values of each layer, and as metadata what stands at each
position, and the model's identity. It holds the prompt's tokens in the clear.
"""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path

from ..device.array_file import DamagedFileError, read_arrays, write_arrays
from ..device.backend import mx
from ..errors import CacheError, WriteError
from .kv import LayerStates
from .prefixes import Key, Prefix

_FORMAT = "fastvlm-mlx prompt 1"


def write_prefix(path: Path, prefix: Prefix, identity: str) -> None:
    """Write a prompt and its KV.

    Raises:
        WriteError: the file cannot be written.
    """
    arrays = {}
    for index, (keys, values) in enumerate(prefix.states):
        arrays[f"{index}.keys"], arrays[f"{index}.values"] = keys, values
    runs = [(key, len(list(run))) for key, run in itertools.groupby(prefix.keys)]
    metadata = {"format": _FORMAT, "model": identity, "prompt": json.dumps(runs)}
    try:
        write_arrays(path, arrays, metadata)
    except OSError as error:
        raise WriteError(f"{path} cannot be written: {error}") from None


def read_prefix(path: Path, identity: str) -> Prefix:
    """Read what `write_prefix` wrote.

    Raises:
        CacheError: there is no such file, it is damaged, or of another model.
    """
    try:
        arrays, metadata = read_arrays(path)
    except (OSError, DamagedFileError) as error:
        raise CacheError(
            f"{path} is no saved prompt: {error}. Delete it to have it made anew."
        ) from None
    if metadata.get("format") != _FORMAT:
        raise CacheError(
            f"{path} has the format {metadata.get('format')!r}; expected {_FORMAT!r}."
        )
    if metadata["model"] != identity:
        raise CacheError(
            f"{path} was made by another model, in another precision, or by another "
            "version. Use a file of its own for each model."
        )
    try:
        return _prefix(arrays, json.loads(metadata["prompt"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CacheError(f"{path} is no saved prompt: {error!r}.") from None


def _prefix(arrays: Mapping[str, mx.array], runs: list[tuple[Key, int]]) -> Prefix:
    states: LayerStates = tuple(
        (arrays[f"{index}.keys"], arrays[f"{index}.values"])
        for index in range(len(arrays) // 2)
    )
    keys = itertools.chain.from_iterable([key] * length for key, length in runs)
    prefix = Prefix(tuple(keys), states)
    if any(array.shape[2:3] != (len(prefix),) for each in states for array in each):
        raise ValueError("its arrays are not as long as its prompt")
    return prefix
