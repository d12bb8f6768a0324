"""`fastvlm-mlx convert`: a PyTorch checkpoint into fused MLX weights."""

import argparse
import importlib
import os
from pathlib import Path
from typing import Any

from ..errors import OptionError
from .arguments import Verbs, add_everywhere
from .terminal import ProgressBar, answer


def add_parser(verbs: Verbs) -> None:
    """Tell the command of this verb."""
    parser = verbs.add_parser(
        "convert",
        help="turn a PyTorch checkpoint into fused MLX weights",
        description="Turn a PyTorch FastVLM checkpoint into a folder of fused MLX "
        "weights. Without options nothing is lost.",
    )
    parser.add_argument("source", metavar="SRC", help="a checkpoint folder or a hub id")
    parser.add_argument("output", metavar="OUT", type=Path, help="the folder to write")
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    parser.add_argument(
        "--bits", type=int, choices=(4, 8), help="quantize the language model"
    )
    parser.add_argument(
        "--group-size",
        type=int,
        choices=(32, 64, 128),
        help="weights that share a scale (default: 64)",
    )
    parser.add_argument(
        "--keep-embeddings",
        action="store_true",
        help="leave the embedding and the head at full precision",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="store what is not quantized as this (default: lose nothing)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT")
    add_everywhere(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Fetch if needed, convert, and say what came of it."""
    from ..resolve import download, is_hub_id

    if arguments.bits is None and (arguments.group_size or arguments.keep_embeddings):
        raise OptionError("--group-size and --keep-embeddings need --bits.")
    converter = importlib.import_module("fastvlm_mlx.convert")
    source = Path(os.path.expanduser(arguments.source))
    if not os.path.exists(source) and is_hub_id(arguments.source):
        source = download(arguments.source, arguments.revision)
    report = converter.convert_checkpoint(
        source,
        Path(os.path.expanduser(arguments.output)),
        recipe=_recipe(arguments, converter),
        dtype=arguments.dtype,
        overwrite=arguments.overwrite,
        source_name=arguments.source,
        progress=ProgressBar(hidden=arguments.quiet),
    )
    answer(_summary(report, arguments.output))


def _recipe(arguments: argparse.Namespace, converter: Any) -> Any:
    if arguments.bits is None:
        return None
    return converter.Recipe(
        arguments.bits,
        arguments.group_size or 64,
        embeddings=not arguments.keep_embeddings,
    )


def _summary(report: Any, output: Path) -> str:
    reasons = sorted(set(report.dropped.values()))
    lines = [
        f"{output}",
        f"  read      {report.tensors_read} tensors, {len(report.dropped)} dropped",
        *(f"            - {reason}" for reason in reasons),
        f"  written   {report.tensors_written} tensors",
        f"  size      {report.parameters / 1e6:.2f} M parameters, "
        f"{report.bytes_written / 1e6:.2f} MB, "
        f"{report.bits_per_weight:.2f} bits per weight",
    ]
    lines.append(f"  float16   {_float16_line(report.peaks)}")
    if report.config.license:
        lines.append(f"  licence   {report.config.license}")
    return "\n".join(lines)


def _float16_line(peaks: Any) -> str:
    """What the tower's activations reach, against float16's limit of 65504."""
    scaled = [
        f"stage {stage} carried times 2^-{shift}"
        for stage, shift in enumerate(peaks.shifts)
        if shift
    ]
    streams = f"streams reach {max(peaks.streams):.0f}, all else {peaks.others:.0f}"
    verdict = "safe" if peaks.fits_float16 else "NOT safe: use bfloat16 or float32"
    return "; ".join([verdict, streams, *scaled])
