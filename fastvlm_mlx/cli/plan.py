"""`fastvlm-mlx plan`: the memory that a model will take, before it is loaded."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, OptionError, quoted
from .arguments import Verbs, add_everywhere, add_limit
from .terminal import answer, answer_json

if TYPE_CHECKING:
    from ..config import FastVLMConfig
    from ..planning.memory_plan import Machine, MemoryPlan, Work

MACS = (8, 16, 24, 32, 64)
"""GiB of unified memory."""

_HALF = 2
"""Bytes of a bfloat16 or float16, in which Macs compute."""

LARGEST = 10**12
"""Positions or images; more than any machine will see, and still a number to print."""

_COLUMNS = ("weights", "KV cache", "encoder", "prompt", "peak")


def add_parser(verbs: Verbs) -> None:
    """Add this verb to the command."""
    parser = verbs.add_parser(
        "plan",
        help="say how much memory a model takes, and on which Macs it fits",
        description="Predict the memory of a model at each precision, from its sizes "
        "alone: here and on Macs. Nothing is computed.",
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="0.5b, 1.5b or 7b for the published sizes, a model folder, a hub id, or "
        "nano",
    )
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    parser.add_argument(
        "--resolution", metavar="N|HxW", help="of images (default: the model's)"
    )
    parser.add_argument(
        "--anyres", action="store_true", help="an overview and 2x2 tiles of each"
    )
    parser.add_argument(
        "--context", type=int, metavar="N", help="positions of prompt and answer"
    )
    parser.add_argument(
        "--batch", type=int, default=1, metavar="N", help="images and answers at once"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead")
    add_limit(parser)
    add_everywhere(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print a table for Macs and one for this machine."""
    from ..device.backend import pick_dtype
    from ..planning.budget import memory_limit, this_machine
    from ..planning.memory_plan import Machine, mac_limit

    config = _config(arguments)
    work = _work(arguments, config)
    limit = memory_limit(arguments.memory_limit)
    here = this_machine(pick_dtype(None, config.fits_float16), limit)
    mac = Machine(mac_limit(MACS[0]), _HALF, unpacks=False, fused_attention=True)
    plans = {
        name: dict(_plans(config, work, machine))
        for name, machine in {"mac": mac, "here": here}.items()
    }
    if arguments.json:
        answer_json(_as_json(plans, work, limit))
    else:
        answer("\n".join(_tables(config, plans, work, limit)))


def _config(arguments: argparse.Namespace) -> "FastVLMConfig":
    from ..planning.geometry import GEOMETRIES, published_config
    from ..resolve import find_model

    if arguments.model.lower() in GEOMETRIES:
        return published_config(arguments.model.lower())
    return find_model(arguments.model, arguments.revision).config


def _work(arguments: argparse.Namespace, config: "FastVLMConfig") -> "Work":
    from ..images.preprocessing import ANYRES_VIEWS
    from ..options import parse_resolution
    from ..planning.memory_plan import usual_work

    asked = arguments.resolution
    size = None if asked is None else parse_resolution(asked)
    try:
        usual = usual_work(config, size, ANYRES_VIEWS if arguments.anyres else 1)
    except ConfigError as error:
        raise OptionError(str(error)) from None
    positions = usual.positions if arguments.context is None else arguments.context
    for name, value in {"context": positions, "batch": arguments.batch}.items():
        if not 1 <= value <= LARGEST:
            raise OptionError(
                f"--{name} is {quoted(value)}; expected from 1 to {LARGEST:.0e}."
            )
    return replace(usual, positions=positions, batch=arguments.batch)


def _plans(
    config: "FastVLMConfig", work: "Work", machine: "Machine"
) -> "Iterator[tuple[int, MemoryPlan]]":
    """One for each precision of the language model."""
    from ..planning.geometry import whole_bytes
    from ..planning.memory_plan import PRECISIONS, make_plan, precision_bytes

    whole = whole_bytes(config, machine.item_bytes)
    for bits in PRECISIONS:
        weights = precision_bytes(config, whole, bits, machine)
        yield bits, make_plan(config, weights, work, machine)


def _tables(
    config: "FastVLMConfig", plans: dict[str, Any], work: "Work", limit: int
) -> Iterator[str]:
    from ..planning.memory_plan import mac_limit

    yield f"{config.source or 'model'}: {work}. in MB."
    yield ""
    yield "On Macs, in half precision (reckoned; measured on Linux only)."
    macs = "".join(f"{f'{size} GB':>7}" for size in MACS)
    yield f"{'bits':>4}{_headings()}  fits{macs}"
    for bits, plan in plans["mac"].items():
        fits = [plan.total <= mac_limit(size) for size in MACS]
        marks = "".join(f"{'yes' if each else 'no':>7}" for each in fits)
        yield f"{bits:>4}{_cells(plan)}      {marks}"
    yield ""
    yield f"On this machine, with {limit / 1e6:.0f} MB."
    yield f"{'bits':>4}{_headings()}  fits"
    for bits, plan in plans["here"].items():
        yield f"{bits:>4}{_cells(plan)}{'yes' if plan.total <= limit else 'no':>6}"


def _headings() -> str:
    return "".join(f"{name:>10}" for name in _COLUMNS)


def _cells(plan: "MemoryPlan") -> str:
    return "".join(f"{_megabytes(each):>10}" for each in _parts(plan))


def _megabytes(size: int) -> str:
    """Whole megabytes, in a column's width whatever the size is."""
    return f"{size / 1e6:.0f}" if size < 10**14 else f"{size / 1e6:.1e}"


def _parts(plan: "MemoryPlan") -> tuple[int, ...]:
    return (plan.weights, plan.kv_cache, plan.encode, plan.prefill, plan.total)


def _as_json(plans: dict[str, Any], work: "Work", limit: int) -> dict[str, Any]:
    names = ("weights", "kv_cache", "encode", "prefill", "total")
    tables = {
        machine: {
            str(bits): dict(zip(names, _parts(plan), strict=True))
            for bits, plan in each.items()
        }
        for machine, each in plans.items()
    }
    asked = {
        "resolution": work.resolution,
        "views": work.views,
        "positions": work.positions,
        "batch": work.batch,
    }
    return {"work": asked, "limit": limit, **tables}
