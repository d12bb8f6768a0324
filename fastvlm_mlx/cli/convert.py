"""`fastvlm-mlx convert`: a PyTorch checkpoint into fused MLX weights."""

import argparse
import importlib
import os
from collections.abc import Mapping
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
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="store what is not quantized as this (default: lose nothing)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT")
    _add_quantization(parser)
    add_everywhere(parser)
    parser.set_defaults(run=run)


BITS = (2, 3, 4, 5, 6, 8)
WHOLE = 16

_PARTS = {
    "llm": "the layers of the language model (default: --bits)",
    "embed": "the embedding (default: --bits, but at least 8)",
    "head": "the head (default: --bits, but at least 8)",
    "projector": "the projector (default: 16)",
    "tower": "the Linears of the vision tower (default: 16)",
}

_SETTINGS = (
    "group_size",
    "mode",
    "calibrate",
    *(f"{part}_bits" for part in _PARTS),
)


def _add_quantization(parser: argparse.ArgumentParser) -> None:
    """What is stored in few bits, and how that is judged."""
    group = parser.add_argument_group("quantization")
    group.add_argument("--bits", type=int, choices=BITS, help="of the language model")
    group.add_argument(
        "--recipe",
        metavar="NAME",
        help="mixed bits, more where they matter: mixed-2-6, mixed-3-4, mixed-3-6, "
        "mixed-4-6 or mixed-4-8",
    )
    group.add_argument(
        "--mode",
        choices=("affine", "mxfp4", "nvfp4", "mxfp8"),
        help="how numbers are packed (default: affine); the others have bits and groups "
        "of their own",
    )
    group.add_argument(
        "--group-size",
        type=int,
        choices=(32, 64, 128),
        help="weights that share an affine scale (default: 64)",
    )
    for part, what in _PARTS.items():
        group.add_argument(
            f"--{part}-bits", type=int, choices=(*BITS, WHOLE), help=f"of {what}"
        )
    group.add_argument(
        "--calibrate",
        action="store_true",
        help="round with a view to what the layers see on pictures: better at equal "
        "size, slower to make",
    )


def run(arguments: argparse.Namespace) -> None:
    """Fetch if needed, convert, and say what came of it."""
    from ..resolve import download, is_hub_id

    converter = importlib.import_module("fastvlm_mlx.convert")
    recipe = _recipe(arguments, converter)  # refuses before anything is fetched
    source = Path(os.path.expanduser(arguments.source))
    if not os.path.exists(source) and is_hub_id(arguments.source):
        source = download(arguments.source, arguments.revision)
    report = converter.convert_checkpoint(
        source,
        Path(os.path.expanduser(arguments.output)),
        recipe=recipe,
        dtype=arguments.dtype,
        overwrite=arguments.overwrite,
        source_name=arguments.source,
        progress=ProgressBar(hidden=arguments.quiet),
    )
    answer(_summary(report, arguments.output))


def _recipe(arguments: argparse.Namespace, converter: Any) -> Any:
    """The Recipe asked for, or None to keep full precision."""
    given = {
        name: value
        for name in _SETTINGS
        if (value := getattr(arguments, name)) not in (None, False)
    }
    if arguments.recipe is not None and arguments.bits is not None:
        raise OptionError("--recipe has its own bits; leave --bits out.")
    if arguments.recipe is not None:
        return converter.Recipe.named(arguments.recipe, **given)
    if arguments.bits is None and not given:
        return None
    return converter.Recipe(bits=arguments.bits, **given)


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
    lines += _left_lines(report.left)
    lines.append(f"  float16   {_float16_line(report.peaks)}")
    if report.config.license:
        lines.append(f"  licence   {report.config.license}")
    return "\n".join(lines)


def _left_lines(left: Mapping[str, str]) -> list[str]:
    """What was to be quantized and could not be; every name, so nothing is silent."""
    if not left:
        return []
    head = (
        f"  left      {len(left)} matrices whole, whose rows the groups do not divide"
    )
    return [head, *(f"            - {name}: {why}" for name, why in left.items())]


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
