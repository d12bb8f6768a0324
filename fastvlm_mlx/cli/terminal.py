"""What the commands say and how: answers to standard output, remarks to standard error.

The only file of the package that writes to a terminal.
"""

import json
import os
import re
import sys
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
                total=total, unit=self._unit, unit_scale=scale, leave=False
            )
        self._bar.update(done - self._bar.n)
        if done == total:
            self._bar.close()
