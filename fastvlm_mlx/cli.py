"""The command `fastvlm-mlx`: one parser, thin verbs, and the only file that prints.

Exit codes: 0, 2 for bad usage or input, 1 for failures, 130 after Ctrl-C. Answers
go to standard output, everything about them to standard error. MLX is imported by
the verbs, so that `--help` does not wait for it.
"""

import argparse
import dataclasses
import importlib
import io
import json
import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .config import IMAGE_MODES
from .errors import FastVLMError, HubError, OptionError, PromptError, WriteError

if TYPE_CHECKING:
    from .generate import GenerationResult, TextStream

STDIN = "-"

OK, FAILURE, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a character
    try:
        arguments = build_parser().parse_args(argv)
    except BrokenPipeError:
        return _reader_left()
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    level = logging.WARNING if arguments.quiet else logging.INFO
    logging.getLogger("fastvlm_mlx").setLevel(level)
    try:
        arguments.verb(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _say("stopped", INTERRUPTED)
    except BrokenPipeError:
        return _reader_left()
    except Exception as error:
        if arguments.debug:
            raise
        return _report(error)
    return OK


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="fastvlm-mlx", description="Ask pictures questions, with FastVLM on MLX."
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_generate(verbs)
    _add_convert(verbs)
    return parser


# --- generate ---------------------------------------------------------------------


def _add_generate(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "generate",
        help="answer a question about a picture",
        description="Answer a question about a picture, as it is written.",
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help='a model folder, a hub id, or "nano", which is inside (default)',
    )
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="PATH",
        help="a picture, or - for standard input; may be given several times",
    )
    parser.add_argument(
        "--prompt", required=True, metavar="TEXT", help="the question, or - for stdin"
    )
    parser.add_argument("--system", metavar="TEXT", help="replaces the system prompt")
    _add_looking(parser)
    _add_sampling(parser)
    output = parser.add_argument_group("output")
    output.add_argument("--stats", action="store_true", help="show what it cost")
    output.add_argument("--json", action="store_true", help="one JSON object instead")
    _add_common(parser)
    parser.set_defaults(verb=_generate)


def _add_looking(parser: argparse.ArgumentParser) -> None:
    looking = parser.add_argument_group("looking")
    looking.add_argument(
        "--resolution",
        metavar="N|HxW",
        help="pixels that the picture is brought to, multiples of 64",
    )
    looking.add_argument(
        "--image-mode",
        choices=IMAGE_MODES,
        help="pad to the frame on black, or crop to it (default: the model's)",
    )
    looking.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="compute in (default: what suits this machine)",
    )


_OPTIONS = (
    "max_tokens",
    "temperature",
    "top_p",
    "min_p",
    "top_k",
    "seed",
    "stop",
    "resolution",
    "image_mode",
)
"""Arguments that are fields of GenerationOptions."""


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    sampling = parser.add_argument_group("sampling")
    sampling.add_argument("--max-tokens", type=int, default=256, metavar="N")
    sampling.add_argument("--temperature", type=float, default=0.0, metavar="T")
    sampling.add_argument("--top-p", type=float, default=1.0, metavar="P")
    sampling.add_argument("--min-p", type=float, default=0.0, metavar="P")
    sampling.add_argument("--top-k", type=int, default=0, metavar="K")
    sampling.add_argument("--seed", type=int, metavar="N")
    sampling.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help="end the answer before this text; may be given several times",
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="no remarks on stderr")
    parser.add_argument("--debug", action="store_true", help="tracebacks for errors")


def _generate(arguments: argparse.Namespace) -> None:
    from .image import check_file
    from .options import GenerationOptions

    chosen = {name: getattr(arguments, name) for name in _OPTIONS}
    GenerationOptions.of(**chosen)  # refused before a model is fetched and loaded
    prompt, images = _read_inputs(arguments)
    for image in images:
        if isinstance(image, str):
            check_file(image)
    from .engine import load

    vlm = load(_model(arguments), revision=arguments.revision, dtype=arguments.dtype)
    _show(vlm.stream(images, prompt, system=arguments.system, **chosen), arguments)


def _read_inputs(arguments: argparse.Namespace) -> tuple[str, list[str | bytes]]:
    sources = [arguments.prompt, *arguments.image]
    if sources.count(STDIN) > 1:
        raise OptionError("Only one of --prompt and --image can be - (standard input).")
    prompt = arguments.prompt
    if prompt == STDIN:
        prompt = _read_text()
    images = [
        sys.stdin.buffer.read() if image == STDIN else image
        for image in arguments.image
    ]
    return prompt, images


def _read_text() -> str:
    try:
        return sys.stdin.read().strip()
    except UnicodeDecodeError as error:
        raise PromptError(
            f"The standard input is not valid {error.encoding.upper()}; expected text."
        ) from None


def _model(arguments: argparse.Namespace) -> str:
    if arguments.model is not None:
        return str(arguments.model)
    if not arguments.quiet:
        _say("no --model given, using the embedded nano; it knows simple shapes only")
    return "nano"


def _show(stream: "TextStream", arguments: argparse.Namespace) -> None:
    if arguments.json:
        text = json.dumps(_as_json(stream.result), ensure_ascii=True)
        print(_CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text))
    else:
        for text in stream:
            print(_printable(text), end="", flush=True)
        print()
    if arguments.stats:
        print(_stats(stream.result), file=sys.stderr)


def _printable(text: str) -> str:
    """A picture can make a model write escape codes; a terminal must not obey them."""
    return _CONTROL.sub("\ufffd", text) if sys.stdout.isatty() else text


def _as_json(result: "GenerationResult") -> dict[str, Any]:
    timings = dataclasses.asdict(result.timings)
    timings["time_to_first_token"] = result.timings.time_to_first_token
    rates = {
        "prompt_tps": result.prompt_tps,
        "generation_tps": result.generation_tps,
    }
    return {**dataclasses.asdict(result), "timings": timings, **rates}


def _stats(result: "GenerationResult") -> str:
    timings = result.timings
    *parts, decode = [
        _milliseconds(field.name, getattr(timings, field.name))
        for field in dataclasses.fields(timings)
    ]
    first = _milliseconds("time_to_first_token", timings.time_to_first_token)
    return "\n".join(
        [
            f"{result.prompt_tokens} prompt tokens, {result.image_tokens} visual",
            *parts,
            first,
            decode,
            f"{len(result.token_ids)} tokens, {result.generation_tps:.1f} tokens/s, "
            f"finished by {result.finish_reason}"
            + (f" ({result.stop!r})" if result.stop else ""),
            f"peak memory {result.peak_memory / 1e6:.0f} MB",
        ]
    )


def _milliseconds(name: str, seconds: float) -> str:
    return f"{name.replace('_', ' '):<20}{1000 * seconds:9.1f} ms"


# --- convert ----------------------------------------------------------------------


def _add_convert(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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
    _add_common(parser)
    parser.set_defaults(verb=_convert)


def _convert(arguments: argparse.Namespace) -> None:
    from .resolve import download, is_hub_id

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
        progress=_ProgressBar(hidden=arguments.quiet),
    )
    print(_summary(report, arguments.output))


def _recipe(arguments: argparse.Namespace, converter: Any) -> Any:
    if arguments.bits is None:
        return None
    return converter.Recipe(
        arguments.bits,
        arguments.group_size or 64,
        embeddings=not arguments.keep_embeddings,
    )


class _ProgressBar:
    """Bytes written, on a terminal's standard error."""

    def __init__(self, hidden: bool) -> None:
        self._hidden = hidden or not sys.stderr.isatty()
        self._bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        if self._hidden:
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit="B", unit_scale=True, leave=False)
        self._bar.update(done - self._bar.n)
        if done == total:
            self._bar.close()


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


# --- errors -----------------------------------------------------------------------


def _reader_left() -> int:
    """Standard output was closed, as `| head` does: nobody wants the rest."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILURE


def _report(error: Exception) -> int:
    if isinstance(error, FastVLMError):
        return _say(
            str(error),
            FAILURE if isinstance(error, HubError | WriteError) else BAD_INPUT,
        )
    return _say(f"{type(error).__name__}: {error} (--debug shows where)", FAILURE)


def _say(message: str, code: int = OK) -> int:
    print(f"fastvlm-mlx: {message}", file=sys.stderr)
    return code
