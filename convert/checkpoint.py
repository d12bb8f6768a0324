"""The recipe: fold, quantize, write.

Nothing is written before every tensor of the source has been accounted for: used
once, or dropped for a reason that the report gives.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from fastvlm_mlx.config import FastVLMConfig
from fastvlm_mlx.device.backend import DTYPES
from fastvlm_mlx.device.setup import configure
from fastvlm_mlx.errors import CheckpointError, OptionError
from fastvlm_mlx.model_folder import CONFIG_FILE
from fastvlm_mlx.timings import Progress, unreported

from .card import write_card, write_legal
from .fold import Folded, fold
from .layout import Weights
from .mlx_vlm import as_mlx_vlm, write_mlx_vlm
from .packing import Packings, unpack
from .quality import Quality
from .quantize import Quantized, quantize
from .questions import JUDGED_SAMPLES
from .recipe import Recipe
from .rescale import Peaks
from .source import Source
from .write import check_target, whole_folder, write_config, write_weights

Format = Literal["fused", "mlx-vlm"]
FORMATS: tuple[Format, ...] = get_args(Format)
"""What can be written: this package's own format, or the layout of mlx-vlm."""


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion did."""

    config: FastVLMConfig
    tensors_read: int
    dropped: Mapping[str, str]  # source name -> reason
    tensors_written: int
    parameters: int  # weights of the network, before packing into bits
    bytes_written: int
    peaks: Peaks | None  # of the tower's activations; None if it was folded before
    packings: Packings  # of the layers that came in few bits
    repacked: bool  # those were unpacked and quantized again
    left: Mapping[str, str]  # matrix not quantized though asked for -> reason
    quality: Quality | None  # of a quantized model, against the same at full precision
    unjudged: str | None  # why a quantized model has no quality

    @property
    def bits_per_weight(self) -> float:
        """Stored bits per parameter, scales and biases included."""
        return 8 * self.bytes_written / self.parameters


def convert_checkpoint(
    source: Path,
    output: Path,
    *,
    tower: Path | None = None,
    to: Format = "fused",
    recipe: Recipe | None = None,
    dtype: str | None = None,
    overwrite: bool = False,
    source_name: str | None = None,
    quality_samples: int = JUDGED_SAMPLES,
    progress: Progress = unreported,
    judging: Progress = unreported,
    dry_run: bool = False,
) -> ConversionReport:
    """Turn a FastVLM folder of any layout into a folder of fused MLX weights.

    Args:
        source: a folder with config.json, safetensors and a tokenizer.
        output: a folder that does not exist, or is empty.
        tower: a folder with the vision tower, where the source has none.
        to: the layout to write, one of FORMATS.
        recipe: how to quantize; None keeps what is there, packed layers as they are.
        dtype: "float32", "bfloat16" or "float16" for what is not quantized. None
            loses nothing: folded tensors stay float32, others keep the file's dtype.
        overwrite: replace a model folder at `output`.
        source_name: what the source is called in the result, a hub id for example.
        quality_samples: built-in questions that a quantized model is judged by; 0
            does not judge it.
        progress: called with bytes written so far and in all.
        judging: called with steps of calibrating and judging done so far and in all.
        dry_run: do all but the writing.

    Raises:
        FastVLMError: the source is not a whole, known checkpoint, or the output
            cannot be written. Then nothing is left behind.
    """
    read, output = Source(Path(source)), Path(output)
    _check_options(dtype, to)
    _check_source(read, output, changed=any((recipe, dtype, to != "fused")))
    check_target(output.resolve(), overwrite)
    configure()
    other = None if tower is None else Source(Path(tower))
    folded = fold(read, other, source_name or read.name)
    files = folded.files
    samples = 0 if dry_run else quality_samples
    if recipe is not None and dry_run:
        recipe = replace(recipe, calibrate=False)  # other values, of the same size
    stored = _stored(folded, recipe, dtype, samples, judging)
    weights, config = stored.weights, stored.config
    if to == "mlx-vlm":
        weights = as_mlx_vlm(weights, config)
    report = _report(folded, stored, weights, repacked=recipe is not None)
    del folded, stored  # a shard is freed as soon as it is written
    if dry_run:
        return report
    with whole_folder(output, overwrite) as folder:
        write_weights(weights, folder, progress, stamped=to == "fused")
        files.write(folder)
        write_config(config, folder)
        if to == "mlx-vlm":
            write_mlx_vlm(config, files, folder)
        write_legal(read, config, folder)
        write_card(config, folder, to, report.quality)
    return report


def _stored(
    folded: Folded,
    recipe: Recipe | None,
    dtype: str | None,
    samples: int,
    progress: Progress,
) -> Quantized:
    """Weights as they are to be stored, the config that says how, and what it costs."""
    config = folded.config
    if recipe is None:
        weights = _cast(folded.weights, dtype, folded.packings)
        return Quantized(weights, config, {}, None, None)
    whole = _cast(unpack(folded.weights, folded.packings), dtype, {})
    return quantize(whole, config, folded.files, recipe, samples, progress)


def _cast(weights: Weights, dtype: str | None, packings: Packings) -> Weights:
    """All but quantized layers, whose scales decide what their bits mean."""
    if dtype is None:
        return dict(weights)
    return {
        name: array
        if name.rpartition(".")[0] in packings and not name.endswith(".bias")
        else array.astype(DTYPES[dtype])
        for name, array in weights.items()
    }


def _report(
    folded: Folded, stored: Quantized, weights: Weights, repacked: bool
) -> ConversionReport:
    return ConversionReport(
        config=stored.config,
        tensors_read=folded.tensors_read,
        dropped=folded.dropped,
        tensors_written=len(weights),
        parameters=folded.parameters,
        bytes_written=sum(array.nbytes for array in weights.values()),
        peaks=folded.peaks,
        packings=folded.packings,
        repacked=repacked and bool(folded.packings),
        left=stored.left,
        quality=stored.quality,
        unjudged=stored.unjudged,
    )


def _check_options(dtype: str | None, to: str) -> None:
    if dtype is not None and dtype not in DTYPES:
        raise OptionError(f"dtype is {dtype!r}; expected one of {', '.join(DTYPES)}.")
    if to not in FORMATS:
        raise OptionError(f"to is {to!r}; expected one of {', '.join(FORMATS)}.")


def _check_source(source: Source, output: Path, changed: bool) -> None:
    folder = source.folder
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} is not a folder; expected a checkpoint folder."
        )
    if not source.has(CONFIG_FILE):
        raise CheckpointError(
            f"{folder} has no config.json; is it a checkpoint folder?"
        )
    if source.is_converted and not changed:
        raise CheckpointError(
            f"{folder} is converted already. Use it as it is, or convert the original."
        )
    if output.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise CheckpointError(
            f"{output} is the source, or a folder around it; choose another output."
        )
