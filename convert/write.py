"""A folder that is there whole or not at all.

Everything is written beside the target under a hidden name, flushed to the disk, and
renamed. A failure in between removes what was written; a kill leaves the target as it
was, or, between the two renames of --overwrite, the old model whole under its hidden
name.
"""

import contextlib
import fcntl
import fnmatch
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from fastvlm_mlx.config import FORMAT_VERSION, STAMP, FastVLMConfig
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import CheckpointError, WriteError
from fastvlm_mlx.model_folder import INDEX_FILE, WEIGHTS_FILE, read_json

from .layout import Weights

MAX_SHARD_BYTES = 5 * 10**9

EXPORT_MARK = "made_by_fastvlm_mlx"
"""The key that tells a folder in another layout written here: it may be replaced."""

_WRITTEN = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "processor_config.json",
    "model*.safetensors",
    INDEX_FILE,
    "LICENSE*",
    "NOTICE",
    "README.md",
)
"""All that a converted folder holds; a folder with anything else is somebody's."""

_INFINITIES: dict[mx.Dtype, tuple[mx.Dtype, int]] = {
    mx.float32: (mx.uint32, 0x7F800000),
    mx.float16: (mx.uint16, 0x7C00),
    mx.bfloat16: (mx.uint16, 0x7F80),
}
"""Whole numbers as wide as a dtype, and infinity as one of them."""

Progress = Callable[[int, int], None]
"""Called with the bytes written so far and in all."""


@contextlib.contextmanager
def whole_folder(target: Path, overwrite: bool) -> Iterator[Path]:
    """Give a temporary folder that becomes `target` when the block succeeds.

    Raises:
        CheckpointError: the target may not be replaced.
        WriteError: it cannot be written.
    """
    # the place itself: a link stays a link, and `out/../out` can be renamed
    target = target.resolve()
    try:
        _sweep(target)
        check_target(target, overwrite)
        target.parent.mkdir(parents=True, exist_ok=True)
        with _partial(target) as partial:
            yield partial
            partial.chmod(0o755)  # mkdtemp makes it private
            _flush(partial)
            check_target(target, overwrite)
            _replace(partial, target)
    except OSError as error:
        raise WriteError(f"{target} cannot be written: {error}") from None


def write_weights(
    weights: Weights, folder: Path, progress: Progress, stamped: bool = True
) -> None:
    """Write safetensors, in shards where they are large; one shard is in memory.

    `weights` is emptied on the way, so that each source tensor is freed when it has
    been used.

    Raises:
        CheckpointError: a weight that is no number.
    """
    metadata = {STAMP: str(FORMAT_VERSION)} if stamped else {"format": "mlx"}
    shards = _shards(weights)
    total, done = sum(array.nbytes for array in weights.values()), 0
    placed: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = _shard_name(number, len(shards))
        shard = {name: weights.pop(name) for name in names}
        for array in shard.values():
            mx.eval(array)
            done += array.nbytes
            progress(done, total)
        _check_numbers(shard)
        _save(folder / file, shard, metadata)
        placed |= dict.fromkeys(names, file)
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": placed}
        _write_json(folder / INDEX_FILE, index)


def write_config(config: FastVLMConfig, folder: Path) -> None:
    """Write the stamped config.json and the preprocessor's settings."""
    _write_json(folder / "config.json", config.to_dict())
    height, width = config.vision_config.image_size
    _write_json(
        folder / "preprocessor_config.json",
        {
            "image_mode": config.image_mode,
            "size": {"height": height, "width": width},
            "resample": "bicubic",
            "rescale_factor": 1 / 255,
        },
    )
    generation = {"eos_token_id": list(config.eos_token_ids), "do_sample": False}
    _write_json(folder / "generation_config.json", generation)


def check_target(target: Path, overwrite: bool) -> None:
    """Refuse a target that is there, or that is not ours to overwrite."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not target.is_dir():
        raise CheckpointError(f"{target} is a file; expected a folder to write.")
    if not overwrite:
        raise CheckpointError(
            f"{target} is there already. Choose another folder, or --overwrite it."
        )
    foreign = [file.name for file in target.iterdir() if not _is_ours(file.name)]
    if foreign or not _is_written_here(target):
        reason = f"it holds {foreign[0]}" if foreign else "it has another config.json"
        raise CheckpointError(
            f"{target} was not written by this converter ({reason}), so it is not "
            "replaced. Choose another folder."
        )
    if os.path.ismount(target):
        raise CheckpointError(
            f"{target} is a mount point, which cannot be renamed; name a folder in it."
        )


def _is_written_here(folder: Path) -> bool:
    config = folder / "config.json"
    return config.is_file() and bool({STAMP, EXPORT_MARK} & read_json(config).keys())


def _is_ours(name: str) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in _WRITTEN)


@contextlib.contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """A folder beside the target, locked for as long as this process works on it."""
    prefix = f".{target.name}."
    partial = Path(tempfile.mkdtemp(".partial", prefix, dir=target.parent))
    lock = os.open(partial, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        os.close(lock)


def _sweep(target: Path) -> None:
    """Put right what a killed conversion left: half a folder, or the old one aside.

    The kernel lets go of a lock when its process dies, however it dies.
    """
    for partial in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):
        if _is_abandoned(partial):
            shutil.rmtree(partial, ignore_errors=True)
    for old in target.parent.glob(f".{glob.escape(target.name)}.*.old"):
        if old.with_suffix(".partial").exists():
            continue  # somebody is about to put the new one in its place
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(target)


def _is_abandoned(folder: Path) -> bool:
    try:
        lock = os.open(folder, os.O_RDONLY)
    except OSError:  # gone meanwhile
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # its process lives
        return False
    finally:
        os.close(lock)
    return True


def _replace(partial: Path, target: Path) -> None:
    """Swap folders by renaming; the old one is whole until the new one stands."""
    if not target.exists():
        partial.rename(target)
        _sync(target.parent)
        return
    old = partial.with_suffix(".old")
    target.rename(old)
    try:
        partial.rename(target)
    except OSError:
        old.rename(target)
        raise
    _sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


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


def _save(path: Path, shard: Weights, metadata: dict[str, str]) -> None:
    try:
        mx.save_safetensors(str(path), shard, metadata)
    except RuntimeError as error:  # how MLX says that the disk is full
        raise OSError(error) from None


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


def _write_json(path: Path, values: object) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _flush(folder: Path) -> None:
    for path in (*folder.iterdir(), folder):
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
