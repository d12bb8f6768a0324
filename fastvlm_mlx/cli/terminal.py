"""What the commands say and how: answers to standard output, remarks to standard error.

The only file of the package that writes to a terminal.
"""

import contextlib
import errno
import io
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..errors import FastVLMError, HubError, PromptError, WriteError, shortened

OK, FAILURE, BAD_INPUT = 0, 1, 2

_MOST_NAMED = 10

_LONGEST_MESSAGE = 1000
"""Characters; the longest of ours has 500."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def open_streams() -> None:
    """Make the standard streams fit for use, whatever the command was started with.

    A stream that is closed is opened on /dev/null: its descriptor would else be that
    of the next file opened, and what is printed would go there. Text that is piped in
    may begin with a byte order mark.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character
    _read_as_utf8()


def _read_as_utf8() -> None:
    """Text that is piped in is UTF-8, also where no locale is set."""
    stdin = sys.stdin
    if not isinstance(stdin, io.TextIOWrapper) or stdin.isatty():
        return
    if stdin.encoding.lower().replace("_", "-") in ("utf-8", "ascii", "us-ascii"):
        stdin.reconfigure(encoding="utf-8-sig", errors="strict")


def show_log(quiet: bool) -> None:
    """What the package logs is a remark; with --quiet only its warnings are."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    level = logging.WARNING if quiet else logging.INFO
    logging.getLogger("fastvlm_mlx").setLevel(level)


def answer(text: str, end: str = "\n") -> None:
    """A part of what was asked for, at once.

    Raises:
        WriteError: standard output takes no more.
    """
    with _writing():
        print(_printable(text), end=end, flush=True)


def answer_json(value: dict[str, Any]) -> None:
    """One JSON object on one line."""
    text = json.dumps(value, ensure_ascii=True)
    with _writing():
        text = _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
        print(text, flush=True)


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        silence()
        raise WriteError(
            f"The answer cannot be written: {error.strerror or error}."
        ) from None


def is_conversation() -> bool:
    """Whether a person sits at standard input, and not a file or another program."""
    return sys.stdin.isatty()


def read_input() -> str:
    """All of standard input, as text.

    Raises:
        PromptError: it is no text, or cannot be read.
    """
    with _reading():
        return sys.stdin.read()


def read_bytes() -> bytes:
    """All of standard input, as bytes.

    Raises:
        PromptError: it cannot be read.
    """
    with _reading():
        return sys.stdin.buffer.read()


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        encoding = error.encoding.upper().removesuffix("-SIG")
        raise PromptError(
            f"The standard input is not valid {encoding}; expected text."
        ) from None
    except OSError as error:
        raise PromptError(
            f"The standard input cannot be read: {error.strerror or error}."
        ) from None


def read_line(prompt: str) -> str | None:
    """A line that was typed or piped in; None at the end.

    Raises:
        KeyboardInterrupt: Ctrl-C on an empty line; on another it empties the line.
        PromptError: it is no text.
    """
    if not is_conversation():
        return _piped_line()
    typed = _line_editor()
    while True:
        try:
            return input(prompt)
        except EOFError:
            answer("")
            return None
        except KeyboardInterrupt:
            answer("")
            if not typed():
                raise


def _piped_line() -> str | None:
    with _reading():
        line = sys.stdin.readline()
    return line.rstrip("\r\n") if line else None


def _line_editor() -> Callable[[], str]:
    """Arrow keys and a history for `input`; gives what is on the line now."""
    try:
        import readline
    except ImportError:  # a Python built without it
        return str
    return readline.get_line_buffer


def remark(text: str) -> None:
    """Something about the answer. That nobody can read it is no reason to stop.

    It may repeat a file's name, and that may hold what a terminal would obey.
    """
    with contextlib.suppress(OSError):
        print(_CONTROL.sub("\ufffd", text), file=sys.stderr, flush=True)


def say(message: str, code: int = OK) -> int:
    """A remark of the command itself; returns the exit code given."""
    remark(f"fastvlm-mlx: {message}")
    return code


def flush() -> None:
    """Have standard output written, as far as it is ours."""
    with _writing():
        sys.stdout.flush()


def report(error: Exception) -> int:
    """Say what went wrong in one line; returns the exit code."""
    if isinstance(error, FastVLMError):
        is_failure = isinstance(error, HubError | WriteError)
        code = FAILURE if is_failure else BAD_INPUT
        return say(shortened(error, _LONGEST_MESSAGE), code)
    return say(f"{_foreseen(error)} (--debug shows where)", FAILURE)


def _foreseen(error: Exception) -> str:
    """What an error of Python says, or its name where it says nothing."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" for {shortened(error.filename)}" if error.filename else ""
        return f"The disk is full: there is no room left{where}."
    if isinstance(error, MemoryError):
        return "There is too little memory for this."
    return f"{type(error).__name__}: {shortened(error, _LONGEST_MESSAGE)}"


def reader_left() -> int:
    """Standard output was closed, as `| head` does: nobody wants the rest."""
    silence()
    return FAILURE


def silence() -> None:
    """What standard output still holds goes nowhere: Python flushes it at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _printable(text: str) -> str:
    """An image can make a model write escape codes; a terminal must not obey them."""
    return _CONTROL.sub("\ufffd", text) if sys.stdout.isatty() else text


def named(names: Sequence[object]) -> str:
    """The first of many names, and how many more there are."""
    shown = ", ".join(shortened(name) for name in names[:_MOST_NAMED])
    more = len(names) - _MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


class ProgressBar:
    """Work done of a total, on a terminal's standard error."""

    def __init__(self, hidden: bool, unit: str = "B") -> None:
        self._hidden = hidden or not sys.stderr.isatty()
        self._unit = unit
        self._bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        if self._hidden:
            return
        if self._bar is None:
            from tqdm import tqdm

            scale = self._unit == "B"
            self._bar = tqdm(
                total=total,
                initial=done,
                unit=self._unit,
                unit_scale=scale,
                leave=False,
            )
        self._bar.update(done - self._bar.n)
        if done == total:
            self._bar.close()


class Resumed(ProgressBar):
    """Progress of work that an earlier run may have begun; that is said first."""

    def __init__(self, quiet: bool, unit: str) -> None:
        super().__init__(quiet, unit)
        self._is_first = not quiet

    def __call__(self, done: int, total: int) -> None:
        if self._is_first and done:
            say(f"resumed: {done} of {total}{self._unit} were answered before")
        self._is_first = False
        super().__call__(done, total)
