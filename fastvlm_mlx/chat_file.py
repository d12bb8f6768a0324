"""A conversation in a file: its turns, and its images as the model saw them.

safetensors: pixels of each image (uint8, of `Preprocessing.shape`), and the turns as
JSON in the metadata. The original images are not needed to go on; the KV is not kept.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .device.array_file import DamagedFileError, read_arrays, write_arrays
from .device.backend import mx
from .errors import CacheError, WriteError
from .images.image import OpenedImage
from .images.preprocessing import Preprocessing

_FORMAT = "fastvlm-mlx chat 1"


@dataclass(frozen=True)
class Turn:
    """A question with its images, and the answer."""

    text: str
    images: tuple[OpenedImage, ...]
    answer: str
    token_ids: tuple[int, ...] | None  # the answer's, if its text came from them


@dataclass(frozen=True)
class Script:
    """All that was said."""

    system: str | None
    turns: tuple[Turn, ...]


def write_script(path: Path, script: Script) -> None:
    """Write a conversation, in place of an earlier one but of no other file.

    Raises:
        WriteError: the file cannot be written.
    """
    if path.exists() and not _is_script(path):
        raise WriteError(
            f"{path} is there and is no saved conversation; choose another name."
        )
    images = [image for turn in script.turns for image in turn.images]
    arrays = {
        str(index): mx.array(image.pixels(lambda _: None))
        for index, image in enumerate(images)
    }
    turns = [_turn_to_json(turn) for turn in script.turns]
    told = json.dumps({"system": script.system, "turns": turns})
    try:
        write_arrays(path, arrays, {"format": _FORMAT, "script": told})
    except OSError as error:
        raise WriteError(f"{path} cannot be written: {error}") from None


def read_script(path: Path) -> Script:
    """Read what `write_script` wrote.

    Raises:
        CacheError: there is no such file, or it is damaged.
    """
    try:
        arrays, metadata = read_arrays(path)
    except FileNotFoundError:
        raise CacheError(f"{path} does not exist.") from None
    except (OSError, DamagedFileError) as error:
        raise CacheError(f"{path} is no saved conversation: {error}.") from None
    if metadata.get("format") != _FORMAT:
        raise CacheError(
            f"{path} has the format {metadata.get('format')!r}; expected {_FORMAT!r}."
        )
    try:
        return _script(arrays, json.loads(metadata["script"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CacheError(f"{path} is no saved conversation: {error!r}.") from None


def _script(arrays: Mapping[str, mx.array], told: dict[str, Any]) -> Script:
    pixels = iter([np.array(arrays[str(index)]) for index in range(len(arrays))])
    turns = tuple(_turn_from_json(turn, pixels) for turn in told["turns"])
    return Script(told["system"], turns)


def _is_script(path: Path) -> bool:
    try:
        read_script(path)
    except CacheError:
        return False
    return True


def _turn_to_json(turn: Turn) -> dict[str, Any]:
    preps = [dataclasses.asdict(image.preprocessing) for image in turn.images]
    return {
        "text": turn.text,
        "looks": preps,
        "answer": turn.answer,
        "token_ids": turn.token_ids,
    }


def _turn_from_json(told: dict[str, Any], pixels: Iterator[Any]) -> Turn:
    images = [_image(next(pixels, None), prep) for prep in told["looks"]]
    ids = told["token_ids"]
    token_ids = None if ids is None else tuple(ids)
    return Turn(told["text"], tuple(images), told["answer"], token_ids)


def _image(pixels: Any, prep: dict[str, Any]) -> OpenedImage:
    """Pixels as they were prepared: anything else would not be what was seen."""
    height, width = prep["size"]
    seen = Preprocessing(
        (height, width),
        prep["mode"],
        prep.get("exact") is True,
        prep.get("anyres") is True,
    )
    if getattr(pixels, "shape", None) != seen.shape or pixels.dtype != np.uint8:
        raise ValueError("an image is missing or not of its size")
    return OpenedImage.of_pixels(pixels, seen)
