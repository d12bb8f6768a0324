"""The one thread that computes.

MLX's streams belong to threads: an array that was scheduled by one thread cannot be
computed by another, and MLX aborts the process now and then when a thread that used it
ends before the process does. So one thread per process owns the device and all
arrays, and it never ends. Any other thread hands it work and waits for the outcome.
"""

import atexit
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

from ..errors import DeviceError

_T = TypeVar("_T")

_EXIT_PATIENCE = 10.0
"""Seconds that the end of the process waits for the step or image under way."""


class Worker(Protocol):
    """Work that comes in turns."""

    def turn(self) -> bool:
        """Do a little; whether there is more to do."""

    def abort(self, error: Exception | None) -> None:
        """Give up all that is left to do; without an error, the process is ending."""


class DeviceThread:
    """Runs calls and turns of workers, one after another.

    The thread is started by the first use. It is a daemon that sleeps, rather than
    ends, when the process exits.
    """

    def __init__(self) -> None:
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._workers: dict[Worker, None] = {}
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._refusal: str | None = None
        self._at_rest = threading.Event()
        os.register_at_fork(after_in_child=self._after_fork)

    def run(self, call: Callable[[], _T]) -> _T:
        """Have the thread make a call, and wait for what it returns or raises.

        Raises:
            DeviceError: this process was forked from one that computes, or is ending.
        """
        if threading.current_thread() is self._thread:
            return call()
        future: Future[_T] = Future()
        self._put(lambda: _settle(future, call))
        return future.result()

    def wake(self, worker: Worker) -> None:
        """Have a worker's turns called until one says that nothing is left.

        Raises:
            DeviceError: as `run`.
        """
        self._put(lambda: self._workers.setdefault(worker))

    def _put(self, item: Callable[[], None]) -> None:
        if self._refusal is not None:
            raise DeviceError(self._refusal)
        if self._thread is None:
            self._start()
        self._inbox.put(item)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                atexit.register(self._rest)
                self._thread = threading.Thread(
                    target=self._loop, name="fastvlm-device", daemon=True
                )
                self._thread.start()

    def _loop(self) -> None:
        while self._refusal is None:
            self._take_calls()
            for worker in [*self._workers]:
                self._take_turn(worker)
        for worker in self._workers:
            worker.abort(None)
        self._at_rest.set()
        threading.Event().wait()  # for ever: see the top of this file

    def _take_calls(self) -> None:
        """Those that are there; waits for one if nothing else is to be done."""
        if not self._workers:
            self._inbox.get()()
        while not self._inbox.empty():
            self._inbox.get()()

    def _take_turn(self, worker: Worker) -> None:
        try:
            more = worker.turn()
        except Exception as error:  # a worker answers for its requests; this is ours
            worker.abort(error)
            more = False
        if not more:
            del self._workers[worker]

    def _rest(self) -> None:
        """Let the step under way end, and begin no other: the process is ending."""
        self._refusal = "The process is ending; nothing more is computed."
        self._inbox.put(lambda: None)
        self._at_rest.wait(_EXIT_PATIENCE)

    def _after_fork(self) -> None:
        if self._thread is not None:
            self._thread = None
            self._refusal = (
                "This process was forked from one that had loaded a model; MLX cannot "
                'compute in it. Start it with multiprocessing\'s "spawn" method, or '
                "load the model only after the fork."
            )


def _settle(future: "Future[Any]", call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except BaseException as error:
        with contextlib.suppress(Exception):
            future.set_exception(error)


device_thread = DeviceThread()
"""The process's own."""
