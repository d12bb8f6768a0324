"""Ctrl-C ends the command within a second, whatever it is doing.

Python raises KeyboardInterrupt in the main thread, between two of its own operations.
That is too late while a library computes in C, and it is lost where a library catches
everything. So a thread hears of the signal as well, through `signal.set_wakeup_fd`, and
ends the process if the main thread has not. During an import it is not raised at all.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

PATIENCE = 0.6
"""Seconds that the main thread has to clean up and end."""

INTERRUPTED = 130
"""What shells report of a command that Ctrl-C ended."""


class Interrupts:
    """What becomes of Ctrl-C in the process of one command."""

    def __init__(self) -> None:
        self.happened = False
        self.note = "stopped"
        self._told: int | None = None  # a pipe's end, written to at each signal
        self._lock = threading.Lock()
        self._said = False

    def watch(self) -> None:
        """End the process soon after Ctrl-C, from now on.

        Not where Ctrl-C is ignored, as in a shell's background jobs, or is somebody
        else's: a program that runs the command within itself.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            return
        heard, self._told = os.pipe()
        os.set_blocking(self._told, False)
        threading.Thread(target=self._wait, args=(heard,), daemon=True).start()
        sys.unraisablehook = self._unraisable
        self._listen()

    @contextlib.contextmanager
    def left_to_python(self) -> Iterator[None]:
        """Ctrl-C is a plain KeyboardInterrupt here, and the process goes on.

        At a terminal it ends an answer, not the conversation.
        """
        if self._told is None:
            yield
            return
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            yield
        finally:
            self._listen()

    def say(self) -> None:
        """One line that the command was stopped; never a second one."""
        with self._lock:
            if self._said:
                return
            self._said = True
        line = f"fastvlm-mlx: {self.note}\n"
        with contextlib.suppress(OSError):  # nobody is there to read it
            # after "^C", which a terminal shows where the cursor is
            os.write(2, ("\n" + line if os.isatty(2) else line).encode())

    def end(self) -> None:
        """End the process here and now: an interrupted library may not let it end.

        Only if Ctrl-C was pressed while `watch` was on; else nothing happens.
        """
        if self.happened:
            os._exit(INTERRUPTED)

    def rest(self) -> None:
        """The command is done; Ctrl-C while Python shuts down ends it at once."""
        if self._told is not None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)

    def _listen(self) -> None:
        if self._told is not None:
            signal.set_wakeup_fd(self._told, warn_on_full_buffer=False)
            signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        self.happened = True
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough
        if _is_importing(frame):
            self.say()
            self.end()
        raise KeyboardInterrupt

    def _wait(self, heard: int) -> None:
        while os.read(heard, 1) != bytes([signal.SIGINT]):
            pass
        time.sleep(PATIENCE)
        self.say()
        os._exit(INTERRUPTED)

    def _unraisable(self, found: Any) -> None:
        """A KeyboardInterrupt that no code could pass on needs no traceback."""
        if not self.happened:
            sys.__unraisablehook__(found)


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported: nothing is lost, and libraries that are
    interrupted then abort the process (nanobind, under MLX) or make it another error.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


interrupts = Interrupts()
"""Those of this process."""
