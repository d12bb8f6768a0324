"""The recipe: read, rename, fuse, check, quantize, write.

Nothing is written before every tensor of the source has been accounted for: used
once, or dropped for a reason that the report gives.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mlx.utils import tree_flatten

from fastvlm_mlx.backend import DTYPES
from fastvlm_mlx.config import FastVLMConfig, is_converted
from fastvlm_mlx.errors import CheckpointError, OptionError
from fastvlm_mlx.model import FastVLMModel

from .architecture import describe
from .layout import Weights
from .names import TOWER, rename
from .quantize import quantize
from .read import Tensors, read_tensors
from .recipe import Recipe
from .rescale import Peaks, measure, rescale
from .tokenizer import read_tokenizer
from .tower import fuse_tower
from .write import Progress, whole_folder, write_config, write_legal, write_weights


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion did."""

    config: FastVLMConfig
    tensors_read: int
    dropped: Mapping[str, str]  # source name -> reason
    tensors_written: int
    parameters: int  # weights of the network, before packing into bits
    bytes_written: int
    peaks: Peaks  # of the tower's activations, on the calibration pictures
    left: Mapping[str, str]  # matrix not quantized though asked for -> reason

    @property
    def bits_per_weight(self) -> float:
        """Stored bits per parameter, scales and biases included."""
        return 8 * self.bytes_written / self.parameters


def convert_checkpoint(
    source: Path,
    output: Path,
    *,
    recipe: Recipe | None = None,
    dtype: str | None = None,
    overwrite: bool = False,
    source_name: str | None = None,
    progress: Progress = lambda done, total: None,
) -> ConversionReport:
    """Turn a PyTorch FastVLM folder into a folder of fused MLX weights.

    Args:
        source: a folder with config.json, safetensors and a tokenizer.
        output: a folder that does not exist, or is empty.
        recipe: how to quantize; None keeps full precision.
        dtype: "float32", "bfloat16" or "float16" for what is not quantized. None
            loses nothing: folded tensors stay float32, others keep the file's dtype.
        overwrite: replace a model folder at `output`.
        source_name: what the source is called in the result, a hub id for example.
        progress: called with bytes written so far and in all.

    Raises:
        FastVLMError: the source is not a whole, known checkpoint, or the output
            cannot be written. Then nothing is left behind.
    """
    source, output = Path(source), Path(output)
    _check_source(source, output, dtype)
    arrays = read_tensors(source)
    tensors, dropped = rename(arrays)
    files = read_tokenizer(source)
    config = describe(
        source, tensors, files.tokens, source_name or source.name, _license(source)
    )
    weights = {**fuse_tower(tensors, config.vision_config), **_rest(tensors, config)}
    tensors.finish()
    _check_written(weights, config)
    peaks = measure(weights, config.vision_config)
    weights = rescale(weights, config.vision_config, peaks.shifts)
    config = _with_shifts(config, peaks)
    parameters = sum(array.size for array in weights.values())
    weights = _cast(weights, dtype)
    left: Mapping[str, str] = {}
    if recipe is not None:
        quantized = quantize(weights, recipe)
        weights, left = quantized.weights, quantized.left
        fits_float16 = config.fits_float16 and quantized.fits_float16
        config = replace(
            config, quantization=quantized.config, fits_float16=fits_float16
        )
    report = ConversionReport(
        config=config,
        tensors_read=len(arrays),
        dropped={**dropped, **tensors.dropped},
        tensors_written=len(weights),
        parameters=parameters,
        bytes_written=sum(array.nbytes for array in weights.values()),
        peaks=peaks,
        left=left,
    )
    del arrays, tensors  # a shard is freed as soon as it is written
    with whole_folder(output, overwrite) as folder:
        write_weights(weights, folder, progress)
        write_config(config, folder)
        files.write(folder)
        write_legal(source, config, folder)
    return report


def _check_source(source: Path, output: Path, dtype: str | None) -> None:
    if dtype is not None and dtype not in DTYPES:
        raise OptionError(f"dtype is {dtype!r}; expected one of {', '.join(DTYPES)}.")
    if not source.is_dir():
        raise CheckpointError(
            f"{source} is not a folder; expected a checkpoint folder."
        )
    if not (source / "config.json").is_file():
        raise CheckpointError(
            f"{source} has no config.json; is it a checkpoint folder?"
        )
    if is_converted(source):
        raise CheckpointError(
            f"{source} is converted already. Use it as it is, or convert the original."
        )
    if output.resolve() in (source.resolve(), *source.resolve().parents):
        raise CheckpointError(
            f"{output} is the source, or a folder around it; choose another output."
        )


def _with_shifts(config: FastVLMConfig, peaks: Peaks) -> FastVLMConfig:
    vision = replace(config.vision_config, stream_shifts=peaks.shifts)
    return replace(config, vision_config=vision, fits_float16=peaks.fits_float16)


def _rest(tensors: Tensors, config: FastVLMConfig) -> Weights:
    """Projector and language model: the same tensors under other names."""
    return {
        name: tensors.take(name, *array.shape)
        for name, array in _expected(config).items()
        if not name.startswith(TOWER)
    }


def _check_written(weights: Weights, config: FastVLMConfig) -> None:
    """Our own mistakes, not the checkpoint's: the runtime must find what it needs."""
    expected = {name: array.shape for name, array in _expected(config).items()}
    found = {name: array.shape for name, array in weights.items()}
    if found != expected:
        wrong = sorted(found.items() ^ expected.items())
        raise AssertionError(f"the folded weights do not fit the model: {wrong[:4]}")


def _expected(config: FastVLMConfig) -> Weights:
    """Names and shapes of the network; its arrays are never computed."""
    return dict(tree_flatten(FastVLMModel(config).parameters()))


def _cast(weights: Weights, dtype: str | None) -> Weights:
    if dtype is None:
        return weights
    return {name: array.astype(DTYPES[dtype]) for name, array in weights.items()}


def _license(source: Path) -> str:
    """The licence that a model card's front matter names."""
    card = source / "README.md"
    text = card.read_text("utf-8", errors="replace") if card.is_file() else ""
    front = re.match(r"---\n(.*?)^---", text, re.DOTALL | re.MULTILINE)
    stated = dict(
        re.findall(
            r"^(license|license_name): *[\"']?([\w.-]+)",
            front[1] if front else "",
            re.MULTILINE,
        )
    )
    # beside a name of its own a licence is called "other"
    return stated.get("license_name") or stated.get("license") or ""
