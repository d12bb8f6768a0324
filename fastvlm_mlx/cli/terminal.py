"""What the commands say and how: answers to standard output, remarks to standard error.

The only file of the package that writes to a terminal.
"""

import json
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from ..errors import FastVLMError, HubError, WriteError

OK, FAILURE, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def answer(text: str, end: str = "\n") -> None:
    """A part of what was asked for, at once."""
    print(_printable(text), end=end, flush=True)


def answer_json(value: dict[str, Any]) -> None:
    """One JSON object on one line."""
    text = json.dumps(value, ensure_ascii=True)
    print(_CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def is_conversation() -> bool:
    """Whether a person sits at standard input, and not a file or another program."""
    return sys.stdin.isatty()


def read_line(prompt: str) -> str | None:
    """A line that was typed or piped in; None at the end.

    Raises:
        KeyboardInterrupt: Ctrl-C on an empty line; on another it empties the line.
    """
    if not is_conversation():
        line = sys.stdin.readline()
        return line.rstrip("\r\n") if line else None
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


def _line_editor() -> Callable[[], str]:
    """Arrow keys and a history for `input`; gives what is on the line now."""
    try:
        import readline
    except ImportError:  # a Python built without it
        return str
    return readline.get_line_buffer


def remark(text: str) -> None:
    """Something about the answer."""
    print(text, file=sys.stderr)


def say(message: str, code: int = OK) -> int:
    """A remark of the command itself; returns the exit code given."""
    remark(f"fastvlm-mlx: {message}")
    return code


def report(error: Exception) -> int:
    """Say what went wrong in one line; returns the exit code."""
    if isinstance(error, FastVLMError):
        return say(
            str(error),
            FAILURE if isinstance(error, HubError | WriteError) else BAD_INPUT,
        )
    return say(f"{type(error).__name__}: {error} (--debug shows where)", FAILURE)


def reader_left() -> int:
    """Standard output was closed, as `| head` does: nobody wants the rest."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILURE


def _printable(text: str) -> str:
    """A picture can make a model write escape codes; a terminal must not obey them."""
    return _CONTROL.sub("\ufffd", text) if sys.stdout.isatty() else text


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
