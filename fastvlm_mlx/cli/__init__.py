"""The command `fastvlm-mlx`: one parser, and a file for each verb.

Exit codes: 0, 2 for bad usage or input, 1 for failures, some lines of a batch among
them, 130 after Ctrl-C. Answers
go to standard output, everything about them to standard error. MLX is imported by
the verbs when they run, so that `--help` does not wait for it.
"""

import argparse
import io
import logging
import sys
from collections.abc import Sequence

from .. import __version__
from . import (
    batch,
    benchmark,
    chat,
    convert,
    doctor,
    evaluate,
    generate,
    inspect,
    models,
    plan,
    quality,
)
from .terminal import INTERRUPTED, OK, reader_left, report, say

VERBS = (
    *(generate, chat, batch),
    *(convert, inspect, quality, models),
    *(evaluate, plan, doctor, benchmark),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a character
    try:
        arguments = build_parser().parse_args(argv)
    except BrokenPipeError:
        return reader_left()
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    level = logging.WARNING if arguments.quiet else logging.INFO
    logging.getLogger("fastvlm_mlx").setLevel(level)
    try:
        code: int = arguments.run(arguments) or OK
        sys.stdout.flush()
    except KeyboardInterrupt:
        return say("stopped", INTERRUPTED)
    except BrokenPipeError:
        return reader_left()
    except Exception as error:
        if arguments.debug:
            raise
        return report(error)
    return code


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="fastvlm-mlx", description="Ask pictures questions, with FastVLM on MLX."
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for verb in VERBS:
        verb.add_parser(verbs)
    return parser
