"""A folder that is there whole or not at all.

Everything is written next to the target under a hidden name, flushed to the disk, and
renamed. A failure in between removes what was written; a kill leaves the target as it
was, or, between the two renames of --overwrite, the old model whole under its hidden
name. Only folders written here are replaced, and only files written here are removed.
"""

import contextlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from fastvlm_mlx.atomic_file import (
    PART,
    is_abandoned,
    lock,
    sync_folder,
    temporaries,
    temporary_path,
)
from fastvlm_mlx.config import FORMAT_VERSION, STAMP, FastVLMConfig
from fastvlm_mlx.device.array_file import save_arrays
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import CheckpointError, FastVLMError, WriteError, shortened
from fastvlm_mlx.model_folder import CONFIG_FILE, INDEX_FILE, WEIGHTS_FILE, read_json
from fastvlm_mlx.timings import Progress

from .layout import Weights
from .source import file_metadata

MAX_SHARD_BYTES = 5 * 10**9

EXPORT_MARK = "made_by_fastvlm_mlx"
"""The key that tells a folder in another layout written here, in its config.json and
in its weights: it may be replaced."""

_OLD = "old"
"""The kind of temporary name under which a folder waits to be replaced."""

_WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")

_WRITTEN = re.compile(
    r"(config|generation_config|preprocessor_config|processor_config|tokenizer"
    r"|tokenizer_config)\.json"
    rf"|{_WEIGHTS.pattern}|{re.escape(INDEX_FILE)}"
    r"|LICEN[CS]E([-_][A-Z]+)?(\.(txt|md|rst|pdf))?|NOTICE|README\.md"
)
"""All that a converted folder holds; a folder with anything else is somebody's."""

_log = logging.getLogger("fastvlm_mlx")

_INFINITIES: dict[mx.Dtype, tuple[mx.Dtype, int]] = {
    mx.float32: (mx.uint32, 0x7F800000),
    mx.float16: (mx.uint16, 0x7C00),
    mx.bfloat16: (mx.uint16, 0x7F80),
}
"""Whole numbers as wide as a dtype, and infinity as one of them."""


@contextlib.contextmanager
def whole_folder(target: Path, overwrite: bool) -> Iterator[Path]:
    """Give a temporary folder that becomes `target` when the block succeeds.

    Raises:
        CheckpointError: the target may not be replaced.
        WriteError: it cannot be written.
    """
    # the place itself: a link stays a link, and `out/../out` can be renamed
    target = target.resolve()
    with _errors_of(target), _parents_of(target):
        _sweep(target)
        check_target(target, overwrite)
        with _partial(target) as partial:
            yield partial
            _flush(partial)
            check_target(target, overwrite)
            _replace(partial, target)


def write_weights(
    weights: Weights, folder: Path, progress: Progress, stamped: bool = True
) -> None:
    """Write safetensors, in shards where they are large; one shard is in memory.

    `weights` is emptied on the way, so that each source tensor is freed when it has
    been used.

    Raises:
        CheckpointError: a weight that is no number, or that cannot be read any more.
        OSError: the folder cannot be written.
    """
    version = str(FORMAT_VERSION)
    metadata = {STAMP: version} if stamped else {"format": "mlx", EXPORT_MARK: version}
    shards = _shards(weights)
    total, done = sum(array.nbytes for array in weights.values()), 0
    placed: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = _shard_name(number, len(shards))
        shard = {name: weights.pop(name) for name in names}
        for array in shard.values():
            _compute(array)
            done += array.nbytes
            progress(done, total)
        _check_numbers(shard)
        with open(folder / file, "wb") as opened:
            save_arrays(opened, shard, metadata)
        placed |= dict.fromkeys(names, file)
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": placed}
        write_json(folder / INDEX_FILE, index)


def write_config(config: FastVLMConfig, folder: Path) -> None:
    """Write the stamped config.json and the preprocessor's settings."""
    write_json(folder / "config.json", config.to_dict())
    height, width = config.vision_config.image_size
    write_json(
        folder / "preprocessor_config.json",
        {
            "image_mode": config.image_mode,
            "size": {"height": height, "width": width},
            "resample": "bicubic",
            "rescale_factor": 1 / 255,
        },
    )
    generation = {"eos_token_id": list(config.eos_token_ids), "do_sample": False}
    write_json(folder / "generation_config.json", generation)


def check_target(target: Path, overwrite: bool) -> None:
    """Refuse a target that is there, or that is not ours to overwrite.

    Raises:
        CheckpointError: it may not be replaced.
        WriteError: it cannot be looked at.
    """
    with _errors_of(target):
        if not target.exists() or (target.is_dir() and not any(target.iterdir())):
            return
        if not target.is_dir():
            raise CheckpointError(f"{target} is a file; expected a folder to write.")
        if not overwrite:
            raise CheckpointError(
                f"{target} is there already. Choose another folder, or --overwrite it."
            )
        if reason := _reason_to_keep(target):
            raise CheckpointError(
                f"{target} was not written by this converter ({reason}), so it is not "
                "replaced. Choose another folder."
            )
        if os.path.ismount(target):
            raise CheckpointError(
                f"{target} is a mount point, which cannot be renamed; name a folder "
                "in it."
            )


def remove_folder(folder: Path) -> None:
    """Delete a folder that was written here.

    Raises:
        CheckpointError: it was not, or something in it was not.
        WriteError: it cannot be changed.
    """
    with _errors_of(folder):
        link = "it is a link" if folder.is_symlink() else None
        if reason := link or _reason_to_keep(folder):
            raise CheckpointError(
                f"{folder} was not written by this converter ({reason}), so it is not "
                "removed."
            )
        old = temporary_path(folder, _OLD)
        folder.rename(old)
        _remove(old)


@contextlib.contextmanager
def _errors_of(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"{shortened(target, 255)} cannot be written: {error.strerror or error}."
        ) from None


@contextlib.contextmanager
def _parents_of(target: Path) -> Iterator[None]:
    """Make the folders above the target; if the block fails, those are removed."""
    missing = [folder for folder in target.parents if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in missing:  # the innermost first
            with contextlib.suppress(OSError):  # somebody has put something there
                folder.rmdir()
        raise


def _reason_to_keep(folder: Path) -> str | None:
    """Why a folder, or something in it, was not written here."""
    names = sorted(file.name for file in folder.iterdir())
    foreign = [name for name in names if not _WRITTEN.fullmatch(name)]
    if foreign:
        return f"it holds {foreign[0]}"
    config = folder / CONFIG_FILE
    if not config.is_file() or not {STAMP, EXPORT_MARK} & read_json(config).keys():
        return f"it has another {CONFIG_FILE}"
    for name in filter(_WEIGHTS.fullmatch, names):
        if not _is_marked(folder / name):
            return f"{name} has no mark of it"
    return None


def _is_marked(weights: Path) -> bool:
    try:
        return bool({STAMP, EXPORT_MARK} & file_metadata(weights).keys())
    except CheckpointError:  # damaged, so it may have been anybody's
        return False


@contextlib.contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """A folder next to the target, locked for as long as this process works on it."""
    partial, file = _make(target)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        os.close(file)


def _make(target: Path) -> tuple[Path, int]:
    while True:
        partial = temporary_path(target)
        partial.mkdir()  # with 0777 less the umask
        file = os.open(partial, os.O_RDONLY)
        lock(file)
        if partial.exists():  # else it was swept before it was locked
            return partial, file
        os.close(file)


def _sweep(target: Path) -> None:
    """Put right what a killed conversion left: half a folder, or the old one aside."""
    for partial in temporaries(target):
        if is_abandoned(partial):
            shutil.rmtree(partial, ignore_errors=True)
    for old in temporaries(target, _OLD):
        if _waiting(old, PART).exists():
            continue  # somebody is about to put the new one in its place
        if target.exists():
            _remove(old)
        elif _is_ours(old):
            old.rename(target)


def _is_ours(folder: Path) -> bool:
    try:
        return _reason_to_keep(folder) is None
    except (FastVLMError, OSError):
        return False


def _waiting(temporary: Path, kind: str) -> Path:
    """The name of another kind that belongs to a temporary one."""
    return temporary.with_suffix(f".fastvlm-{kind}")


def _replace(partial: Path, target: Path) -> None:
    """Swap folders by renaming; the old one is whole until the new one stands."""
    if not target.exists():
        partial.rename(target)
        sync_folder(target.parent)
        return
    old = _waiting(partial, _OLD)
    target.rename(old)
    try:
        partial.rename(target)
    except OSError:
        old.rename(target)
        raise
    sync_folder(target.parent)
    _remove(old)


def _remove(old: Path) -> None:
    """Delete a replaced folder, but nothing that somebody has put there meanwhile."""
    # config.json last: by it the rest is known, should this be interrupted
    files = sorted(old.iterdir(), key=lambda file: file.name == CONFIG_FILE)
    for file in files:
        if _WRITTEN.fullmatch(file.name):
            with contextlib.suppress(OSError):
                file.unlink()
    try:
        old.rmdir()
    except OSError:
        _log.warning("%s holds files that were not written here; they stay.", old)


def _compute(array: mx.array) -> None:
    try:
        mx.eval(array)
    except RuntimeError as error:  # the source is read now, and may have changed
        raise CheckpointError(f"The source cannot be read any more: {error}") from None


def _check_numbers(shard: Weights) -> None:
    for name, array in shard.items():
        if array.dtype in _INFINITIES and not _is_finite(array):
            raise CheckpointError(
                f"{name} holds values that are not numbers; the source is damaged, or "
                "its values are too large for the dtype asked for."
            )


def _is_finite(array: mx.array) -> bool:
    """By its bits: without the sign, infinity and NaN are the largest whole numbers.

    MLX's `isfinite` is scalar code in half precision on the CPU, eight times slower.
    """
    if not array.size:
        return True
    whole, infinity = _INFINITIES[array.dtype]
    without_sign = mx.array((1 << (8 * array.itemsize - 1)) - 1, whole)
    largest = mx.bitwise_and(array.view(whole), without_sign).max().item()
    assert isinstance(largest, int)
    return largest < infinity


def _shards(weights: Weights) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    size = 0
    for name, array in weights.items():
        if shards[-1] and size + array.nbytes > MAX_SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += array.nbytes
    return shards


def _shard_name(number: int, count: int) -> str:
    return (
        WEIGHTS_FILE if count == 1 else f"model-{number:05d}-of-{count:05d}.safetensors"
    )


def write_json(path: Path, values: object) -> None:
    """Write a JSON file as people read it."""
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _flush(folder: Path) -> None:
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)
