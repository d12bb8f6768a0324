"""`fastvlm-mlx convert`: a checkpoint of any layout into fused MLX weights."""

import argparse
import importlib
import os
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..config import GROUP_SIZES, PACKINGS
from ..errors import OptionError, quoted
from ..paths import expanded
from .arguments import GOES_ON, Verbs, add_everywhere
from .quality import add_samples, quality_lines
from .terminal import ProgressBar, answer

FORMATS = ("fused", "mlx-vlm")


def add_parser(verbs: Verbs) -> None:
    """Tell the command of this verb."""
    parser = verbs.add_parser(
        "convert",
        help="turn a checkpoint into fused MLX weights",
        description="Turn a FastVLM checkpoint of any published layout into a folder "
        "of fused MLX weights. Without options nothing is lost.",
    )
    parser.add_argument(
        "source", metavar="SRC", help="a checkpoint folder, a hub id, or 0.5b, 1.5b, 7b"
    )
    parser.add_argument("output", metavar="OUT", help="the folder to write")
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    parser.add_argument(
        "--tower",
        metavar="SRC",
        help="take the vision tower from this folder or hub id, where SRC has none",
    )
    parser.add_argument(
        "--to",
        choices=FORMATS,
        default="fused",
        help="the layout to write: ours, or that of mlx-vlm and mlx-swift-lm",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="store what is not quantized as this (default: lose nothing)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check and count everything, write nothing",
    )
    parser.add_argument(
        "--offline", action="store_true", help="use what was downloaded before"
    )
    parser.add_argument(
        "--upload",
        metavar="REPO",
        help="put OUT into this repository of the hub, made private if it is new",
    )
    _add_quantization(parser)
    add_everywhere(parser)
    parser.set_defaults(run=run, when_stopped=GOES_ON)


BITS = PACKINGS["affine"][0]
WHOLE = 16

_PARTS = {
    "llm": "the layers of the language model (default: --bits)",
    "embed": "the embedding (default: --bits, but at least 6)",
    "head": "the head (default: --bits, but at least 6)",
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
        choices=tuple(PACKINGS),
        help="how numbers are packed (default: affine); the others have bits and "
        "groups of their own",
    )
    group.add_argument(
        "--group-size",
        type=int,
        choices=GROUP_SIZES,
        help="weights that share an affine scale (default: 64)",
    )
    for part, what in _PARTS.items():
        group.add_argument(
            f"--{part}-bits", type=int, choices=(*BITS, WHOLE), help=f"of {what}"
        )
    group.add_argument(
        "--calibrate",
        action="store_true",
        help="round with a view to what the layers see on images: better at equal "
        "size, slower to make",
    )
    add_samples(group, "--quality-samples")
    group.add_argument(
        "--no-quality", action="store_true", help="do not judge the quantized model"
    )


def run(arguments: argparse.Namespace) -> None:
    """Fetch if needed, convert, and say what came of it."""
    from ..resolve import find_source

    converter = importlib.import_module("fastvlm_mlx.convert")
    # both refuse before anything is fetched
    recipe = _recipe(arguments, converter)
    converter.check_samples(arguments.quality_samples)
    _check_upload(arguments)
    output, offline = expanded(arguments.output), arguments.offline
    report = converter.convert_checkpoint(
        find_source(arguments.source, revision=arguments.revision, offline=offline),
        output,
        tower=arguments.tower
        and find_source(arguments.tower, offline=offline, only_tower=True),
        to=arguments.to,
        recipe=recipe,
        dtype=arguments.dtype,
        overwrite=arguments.overwrite,
        source_name=_source_name(arguments.source),
        quality_samples=0 if arguments.no_quality else arguments.quality_samples,
        progress=ProgressBar(hidden=arguments.quiet),
        judging=ProgressBar(hidden=arguments.quiet, unit=" steps"),
        dry_run=arguments.dry_run,
    )
    answer(_summary(report, arguments.output, arguments.dry_run))
    if arguments.upload:
        answer(f"  uploaded  {converter.upload(output, arguments.upload)}")


def _source_name(name: str) -> str:
    """What the result calls its source: a short name is a hub id's."""
    from ..resolve import published_model

    repo_id, _ = published_model(name) or (name, None)
    return name if os.path.exists(expanded(name)) else repo_id


def _check_upload(arguments: argparse.Namespace) -> None:
    from ..resolve import is_hub_id

    if arguments.upload is None:
        return
    if arguments.dry_run or arguments.offline:
        raise OptionError("--upload needs neither --dry-run nor --offline.")
    if not is_hub_id(arguments.upload):
        raise OptionError(
            f"--upload is {quoted(arguments.upload)}; expected owner/name."
        )


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


def _summary(report: Any, output: str, dry_run: bool) -> str:
    reasons = sorted(set(report.dropped.values()))
    lines = [
        f"{output} (nothing is written)" if dry_run else f"{output}",
        f"  read      {report.tensors_read} tensors, {len(report.dropped)} dropped",
        *(f"            - {reason}" for reason in reasons),
        *_packed_lines(report),
        f"  written   {report.tensors_written} tensors",
        f"  size      {report.parameters / 1e6:.2f} M parameters, "
        f"{report.bytes_written / 1e6:.2f} MB, "
        f"{report.bits_per_weight:.2f} bits per weight",
    ]
    lines += _left_lines(report.left) + _quality_lines(report)
    if report.peaks is not None:
        lines.append(f"  float16   {_float16_line(report.peaks)}")
    if report.config.license:
        lines.append(f"  licence   {report.config.license}")
    return "\n".join(lines)


def _packed_lines(report: Any) -> list[str]:
    """What became of layers that were quantized already."""
    if not report.packings:
        return []
    counts = Counter(packing.bits for packing in report.packings.values())
    found = ", ".join(f"{count} in {bits} bits" for bits, count in counts.items())
    if not report.repacked:
        return [f"            - quantized layers, kept as they are: {found}"]
    return [
        f"            - quantized layers, unpacked: {found}; what they lost before "
        "stays lost, and quantizing again loses more"
    ]


def _left_lines(left: Mapping[str, str]) -> list[str]:
    """What was to be quantized and could not be; every name, so nothing is silent."""
    if not left:
        return []
    head = (
        f"  left      {len(left)} matrices whole, whose rows the groups do not divide"
    )
    return [head, *(f"            - {name}: {why}" for name, why in left.items())]


def _quality_lines(report: Any) -> list[str]:
    if report.quality is not None:
        first, *rest = quality_lines(report.quality)
        return [f"  quality   {first}", *(f"            {line}" for line in rest)]
    return [f"  quality   not measured: {report.unjudged}"] if report.unjudged else []


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
