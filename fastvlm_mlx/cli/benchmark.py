"""`fastvlm-mlx benchmark`: this machine, what it could do, what others measured."""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError, OptionError
from ..planning.published import PAPER, of_size
from .arguments import Verbs, add_everywhere, add_limit
from .terminal import answer, answer_json, remark

if TYPE_CHECKING:
    from ..config import FastVLMConfig
    from ..model.fastvlm import FastVLMModel
    from ..planning.measure import Parts
    from ..planning.published import Published

_MARKS = "*+#"


def add_parser(verbs: Verbs) -> None:
    """Tell the command of this verb."""
    parser = verbs.add_parser(
        "benchmark",
        help="time this machine",
        description="Time an image's way to the first token and the tokens after it, "
        "by resolution. Without --model, with random numbers for weights.",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", metavar="MODEL", help="a folder, a hub id, or nano")
    which.add_argument(
        "--geometry", choices=tuple(PAPER), default="0.5b", help="a published size"
    )
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    parser.add_argument("--bits", type=int, choices=(4, 8), help="with --geometry")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="compute in (default: what suits this machine)",
    )
    parser.add_argument(
        "--resolutions", nargs="+", default=["256", "512", "1024"], metavar="N|HxW"
    )
    parser.add_argument("--runs", type=int, default=3, metavar="N")
    parser.add_argument("--json", action="store_true", help="one JSON object instead")
    add_limit(parser)
    add_everywhere(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print a line for each resolution when it is measured."""
    from ..options import parse_resolution
    from ..planning.measure import measure

    if arguments.runs < 1:
        raise OptionError(f"--runs is {arguments.runs}; expected at least 1.")
    sizes = [parse_resolution(text) for text in arguments.resolutions]
    model, config = _model(arguments, sizes)
    say = remark if arguments.json else answer
    say(f"{config.source or arguments.model}; medians of {arguments.runs}, in ms")
    say(_row("", "positions", "pixels", "encode", "prefill", "1st token", "token"))
    found = []
    for size in sizes:
        found.append(measure(model, config, size, arguments.runs))
        say(_line(found[-1]))
    for line in _beside(arguments, config, model, found):
        say(line)
    if arguments.json:
        parts = [dataclasses.asdict(each) for each in found]
        others = [dataclasses.asdict(each) for each in _others(arguments)]
        answer_json({"machine": _machine(), "parts": parts, "published": others})


def _model(
    arguments: argparse.Namespace, sizes: list[tuple[int, int]]
) -> "tuple[FastVLMModel, FastVLMConfig]":
    """A network with its weights in memory, if all of it fits."""
    from ..device.backend import mx, pick_dtype
    from ..planning.budget import memory_limit, this_machine
    from ..planning.geometry import published_config, random_model
    from ..planning.memory_plan import Work, check
    from ..weights import load_model, suit_backend

    limit = memory_limit(arguments.memory_limit)
    if arguments.model is not None:
        folder, config = _folder(arguments)
        _check_sizes(config, sizes)
        return load_model(folder, config, arguments.dtype, limit), config
    config = published_config(arguments.geometry, arguments.bits)
    tokens = _check_sizes(config, sizes)
    dtype = pick_dtype(arguments.dtype)
    model = random_model(config, dtype)
    machine = this_machine(dtype, limit)
    check(config, model.weights_bytes, Work(max(sizes), tokens + 64), machine)
    suit_backend(model)
    mx.eval(model.parameters())
    return model, config


def _folder(arguments: argparse.Namespace) -> "tuple[Path, FastVLMConfig]":
    from ..resolve import find_model

    if arguments.bits is not None:
        raise OptionError("--bits goes with --geometry; a model has its own.")
    found = find_model(arguments.model, arguments.revision)
    return found.path, found.config


def _check_sizes(config: "FastVLMConfig", sizes: list[tuple[int, int]]) -> int:
    """Visual tokens of the largest image."""
    try:
        return max(config.vision_config.num_tokens(size) for size in sizes)
    except ConfigError as error:
        raise OptionError(str(error)) from None


def _beside(
    arguments: argparse.Namespace,
    config: "FastVLMConfig",
    model: "FastVLMModel",
    found: "list[Parts]",
) -> list[str]:
    """What else there is for the same work: this machine's bound, others' times."""
    lines = []
    for parts in found:
        times = _at_best(config, model, parts)
        if times is not None:
            times = (*times, sum(times))
            lines.append(_row(_named(parts), "at best", "", *times, ""))
    notes = []
    for place, each in enumerate(_others(arguments)):
        mark, source = _MARKS[place], f"{each.source}, {each.date}"
        lines.append(_published(each, mark))
        notes.append(f"{mark} {each.engine}: {each.how}; {source}")
    return lines + notes


def _others(arguments: argparse.Namespace) -> "list[Published]":
    """What was published of the geometry measured; nothing of a model of its own."""
    return [] if arguments.model is not None else of_size(arguments.geometry)


def _published(each: "Published", mark: str) -> str:
    """Their times in the columns of ours, marked as theirs."""
    rate = each.tokens_per_second
    token = None if rate is None else 1000 / rate
    times = each.encode, each.prefill, each.first_token, token
    cells = ["" if ms is None else ms / 1000 for ms in times]
    chip = each.chip.removeprefix("Apple ")
    return _row("1024x1024", f"{chip} {mark}", "", *cells)


def _at_best(
    config: "FastVLMConfig", model: "FastVLMModel", parts: "Parts"
) -> tuple[float, ...] | None:
    """Encode and prefill in seconds, if every weight is read once and nothing else;
    None on a machine whose peaks are unknown."""
    from ..model.fastvlm import bytes_of
    from ..planning.cost import PEAKS, encode_cost, language_cost, least_time

    peak = PEAKS.get(_machine())
    if peak is None:
        return None
    encode = encode_cost(config.vision_config, parts.resolution).flops
    positions = parts.positions
    prompt = language_cost(config.text_config, positions, positions, causal=True)
    tied = config.text_config.tie_word_embeddings
    looked_up = None if tied else "embed_tokens"
    return (
        least_time(encode, bytes_of(model.vision_tower), peak),
        least_time(prompt.flops, bytes_of(model.language_model, looked_up), peak),
    )


def _line(parts: "Parts") -> str:
    times = (parts.pixels, parts.encode, parts.prefill)
    last = (parts.first_token, parts.decode)
    return _row(_named(parts), str(parts.positions), *times, *last)


def _named(parts: "Parts") -> str:
    return f"{parts.resolution[0]}x{parts.resolution[1]}"


def _row(name: str, second: str, *cells: str | float) -> str:
    texts = [each if isinstance(each, str) else f"{1000 * each:.1f}" for each in cells]
    return f"{name:<11}{second:>10}" + "".join(f"{text:>11}" for text in texts)


def _machine() -> str:
    """As MLX names the device."""
    from ..device.backend import mx

    return str(mx.device_info().get("device_name", ""))
