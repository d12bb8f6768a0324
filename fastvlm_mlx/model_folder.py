"""A model's folder: what its files are called, and its JSON files read.

Sizes and checks of what the files say are in config.py, weights in weights.py.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from .config import STAMP, FastVLMConfig
from .errors import CheckpointError, ConfigError

CONFIG_FILE = "config.json"
"""What a model is, in this package's folders and in all others."""

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
"""What Hugging Face calls a model's weights: one file, or shards with an index."""


@dataclass(frozen=True)
class ModelFolder:
    """A converted folder and what its config.json says, read once; a path itself."""

    path: Path
    config: FastVLMConfig

    def __fspath__(self) -> str:
        return str(self.path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the config.json of a converted folder.

        Raises:
            ConfigError: it is missing, damaged, or of another format.
        """
        return cls(path, load_config(path))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file; a byte order mark before it is no fault.

    Raises:
        ConfigError: the file is missing, unreadable, or holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds {type(values).__name__}, not a JSON object.")
    return values


def read_weight_map(folder: Path) -> dict[str, str]:
    """Which file each tensor is in, from the index of a folder with shards."""
    return weight_map(read_json(folder / INDEX_FILE), folder)


def weight_map(index: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Which file each tensor is in, as an index says that was read in a folder.

    Raises:
        CheckpointError: it says nothing of it.
    """
    stated = index.get("weight_map")
    if not isinstance(stated, dict) or not stated:
        raise CheckpointError(f"{folder / INDEX_FILE} has no weight_map.")
    return {str(name): str(file) for name, file in stated.items()}


def is_converted(folder: Path) -> bool:
    """Whether a folder holds this package's own format, by its stamp."""
    config = folder / CONFIG_FILE
    return config.is_file() and STAMP in read_json(config)


def load_config(folder: Path) -> FastVLMConfig:
    """Read the config.json of a converted folder."""
    return FastVLMConfig.from_dict(read_json(folder / CONFIG_FILE))
