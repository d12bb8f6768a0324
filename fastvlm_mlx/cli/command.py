"""The whole command line: which verb is meant, and what its errors become."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from .. import __version__
from ..errors import WriteError
from . import (
    batch,
    benchmark,
    chat,
    completion,
    convert,
    doctor,
    evaluate,
    generate,
    inspect,
    kernel_cache,
    models,
    plan,
    quality,
)
from .interrupt import INTERRUPTED, interrupts
from .parser import Parser, suggested
from .terminal import (
    OK,
    answer,
    flush,
    open_streams,
    reader_left,
    report,
    say,
    show_log,
)
from .typed_images import image_source, is_there, looks_like_image

VERBS = (
    *(generate, chat, batch),
    *(convert, inspect, quality, models),
    *(evaluate, plan, doctor, benchmark),
    completion,
)

NAME = "fastvlm-mlx"

EXAMPLE = f"""\
{NAME} photo.jpg "What is in this picture?"
{NAME} chat photo.jpg
{NAME} help generate"""


def run(argv: Sequence[str] | None) -> int:
    """Carry out one command; returns its exit code.

    Raises:
        SystemExit: the words are no command, or help was all that was asked for.
    """
    open_streams()
    interrupts.note = "stopped"
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
        show_log(arguments.quiet)
        if argv is None:  # the process is ours alone
            kernel_cache.keep()
        interrupts.note = getattr(arguments, "when_stopped", "stopped")
        return _carried_out(arguments)
    except BrokenPipeError:
        return reader_left()
    except WriteError as error:  # of the help
        return report(error)
    except KeyboardInterrupt:
        return _stopped()


def _carried_out(arguments: argparse.Namespace) -> int:
    try:
        code: int = arguments.run(arguments) or OK
        flush()
    except BrokenPipeError:
        raise
    except Exception as error:
        if interrupts.happened:  # what a library made of it
            return _stopped()
        if arguments.debug:
            raise
        return report(error)
    return code


def _stopped() -> int:
    if interrupts.happened:
        interrupts.say()
    else:
        say(interrupts.note)
    return INTERRUPTED


def parse(words: Sequence[str]) -> argparse.Namespace:
    """What the words of a command line ask for.

    `generate` may be left out before an image or a question.

    Raises:
        SystemExit: it has been said what is wrong with them, or the help was shown.
    """
    parser, verbs = build_parser()
    words = list(words)
    if not words or words[0] in ("help", "-h", "--help"):
        _show_help(parser, verbs, words[1:])
    if words[0] in ("-V", "--version"):
        answer(__version__)
        parser.exit()
    if words[0] not in verbs:
        _require_question(parser, verbs, words[0])
        words = ["generate", *words]
    verb = verbs[words[0]]
    verb.check_options(words[1:])
    arguments, left = parser.parse_known_args(words)
    arguments.verbs = verbs  # for those that tell of them all
    if left and not hasattr(arguments, "words"):
        verb.error(f"there is no place for {left[0]!r}{verb.hint()}")
    elif left:  # words after an option
        arguments.words = [*arguments.words, *left]
    return arguments


def build_parser() -> tuple[Parser, dict[str, Parser]]:
    """The parser of the whole command line, and that of each verb."""
    parser = Parser(
        prog=NAME,
        description="Ask images questions, with FastVLM on MLX.",
        usage=f'{NAME} IMAGE "QUESTION" [options]\n       {NAME} COMMAND [options]',
        epilog=f"Try:\n\n{EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-V", "--version", action="store_true", help="show the version")
    verbs = parser.add_subparsers(
        title="commands", metavar="COMMAND", parser_class=Parser, prog=NAME
    )
    for verb in VERBS:
        verb.add_parser(verbs)
    return parser, dict(verbs.choices)


def _show_help(
    parser: Parser, verbs: dict[str, Parser], topics: Sequence[str]
) -> NoReturn:
    topic = topics[0] if topics else None
    if topic is not None and topic not in verbs:
        parser.error(f"there is no command {topic!r}{suggested(topic, verbs)}")
    (verbs[topic] if topic else parser).print_help()
    parser.exit()


def _require_question(parser: Parser, verbs: dict[str, Parser], word: str) -> None:
    """Refuse a first word that is neither a command nor an image, a question or an
    option of `generate`."""
    if word.startswith("-") or " " in word or looks_like_image(word):
        return
    if is_there(image_source(word)):
        return
    parser.error(
        f"there is no command {word!r}"
        + (
            suggested(word, verbs)
            or f'; expected a command, or IMAGE "QUESTION"; see {NAME} help'
        )
    )
