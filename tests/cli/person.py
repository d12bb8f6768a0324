"""A person at a terminal, for tests: types, reads, presses Ctrl-C."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PATIENCE = 600
"""Seconds until a hung program is given up; a busy machine is not a hung one."""


class Terminal:
    """A person at a terminal: types, reads, presses Ctrl-C."""

    def __init__(self, *command: str, cwd: Path | None = None) -> None:
        self._own, theirs = pty.openpty()
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            cwd=cwd,
            preexec_fn=_take_terminal,
        )
        os.close(theirs)
        self._seen = b""

    def type(self, text: str) -> None:
        os.write(self._own, text.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C at a prompt.

        Python's line editor misses a signal that comes after it has shown something
        and before it sleeps, and nobody is that fast: the program must sleep first.
        """
        end = time.monotonic() + PATIENCE
        state = ["ps", "-o", "stat=", "-p", str(self.process.pid)]
        while not subprocess.check_output(state, text=True).startswith("S"):
            assert time.monotonic() < end
        self.type("\x03")

    def read_until(self, text: str) -> str:
        """All that was shown up to and with a text; it must come."""
        end = time.monotonic() + PATIENCE
        while text.encode() not in self._seen:
            assert time.monotonic() < end, self._seen
            if select.select([self._own], [], [], 1)[0]:
                try:
                    self._seen += os.read(self._own, 4096)
                except OSError:  # the other side is gone
                    break
        assert text.encode() in self._seen, self._seen
        before, _, self._seen = self._seen.partition(text.encode())
        return before.decode(errors="replace") + text

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self._own)


def _take_terminal() -> None:
    """Make the terminal the process's own, so that Ctrl-C typed there reaches it."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextlib.contextmanager
def terminals() -> Iterator[Callable[..., Terminal]]:
    """Opens terminals with a Python command in each, and closes them all."""
    opened: list[Terminal] = []

    def start(*command: str, cwd: Path | None = None) -> Terminal:
        opened.append(Terminal(sys.executable, *command, cwd=cwd))
        return opened[-1]

    yield start
    for each in opened:
        each.close()
