"""The thread that computes, and how a process ends that has one."""

import subprocess
import sys
import threading
from typing import Any

import pytest

from fastvlm_mlx.device.thread import DeviceThread, device_thread
from fastvlm_mlx.errors import DeviceError

LOADED = "import fastvlm_mlx, threading; vlm = fastvlm_mlx.load('nano');"
ENDINGS = {
    "asked in a thread that ended": (
        "t = threading.Thread(target=vlm.generate, args=(None, 'what?'));"
        "t.start(); t.join()"
    ),
    "while an answer is being written": (
        "stream = vlm.stream(None, 'what color is it? ' * 9, max_tokens=200)"
    ),
    "with a reader that is left behind": (
        "s = vlm.stream(None, 'what?' * 9, max_tokens=200);"
        "threading.Thread(target=lambda: [*s], daemon=True).start()"
    ),
    "in the middle of a batch": (
        "b = vlm.batch_as_finished([{'prompt': 'what?'}] * 99); next(b)"
    ),
}


def run(code: str) -> tuple[int, str]:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.drills)])
@pytest.mark.parametrize("way", ENDINGS)
def test_a_process_ends_with_status_0(way: str, times: int) -> None:
    ends = [run(LOADED + ENDINGS[way]) for _ in range(times)]
    assert ends == [(0, "")] * times


def test_a_model_loaded_by_a_thread_ends_well_too() -> None:
    code = (
        "import fastvlm_mlx, threading;"
        "t = threading.Thread(target=lambda: fastvlm_mlx.load('nano')"
        ".generate(None, 'what?', max_tokens=2)); t.start(); t.join()"
    )
    assert run(code) == (0, "")


def test_a_forked_process_is_told_what_to_do() -> None:
    """Instead of waiting for ever for a thread that it does not have."""
    code = LOADED + (
        "import os, sys; pid = os.fork()\n"
        "if pid == 0:\n"
        "    try: vlm.generate(None, 'what?')\n"
        "    except fastvlm_mlx.FastVLMError as error: print(error)\n"
        "    sys.stdout.flush(); os._exit(0)\n"
        "sys.exit(os.waitpid(pid, 0)[1])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0
    assert 'with multiprocessing\'s "spawn" method' in done.stdout


def test_a_fork_before_the_load_computes() -> None:
    code = (
        "import fastvlm_mlx, os, sys; pid = os.fork()\n"
        "if pid == 0:\n"
        "    text = fastvlm_mlx.load('nano').generate(None, 'what?', max_tokens=1)\n"
        "    sys.exit(0)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    assert run(code)[0] == 0


def test_calls_run_on_one_thread_and_give_back_what_they_return() -> None:
    names = {device_thread.run(lambda: threading.current_thread().name) for _ in "abc"}
    assert names == {"fastvlm-device"}
    nested = device_thread.run(lambda: device_thread.run(lambda: 5))
    assert nested == 5


def test_a_call_that_fails_fails_where_it_was_made() -> None:
    def failing() -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        device_thread.run(failing)
    assert device_thread.run(lambda: 1) == 1


class Steps:
    """Work of some turns."""

    def __init__(self, turns: int, fails: bool = False) -> None:
        self.left, self.fails = turns, fails
        self.done = threading.Event()
        self.errors: list[Exception | None] = []

    def turn(self) -> bool:
        if self.fails:
            raise ValueError("a mistake of ours")
        self.left -= 1
        if not self.left:
            self.done.set()
        return bool(self.left)

    def abort(self, error: Exception | None) -> None:
        self.errors.append(error)
        self.done.set()


def test_workers_take_turns_and_one_that_fails_is_told() -> None:
    workers = [Steps(3), Steps(5, fails=True), Steps(7)]
    for worker in workers:
        device_thread.wake(worker)
    for worker in workers:
        assert worker.done.wait(60)
    assert [each.left for each in workers] == [0, 5, 0]
    assert [str(each) for each in workers[1].errors] == ["a mistake of ours"]


def test_nothing_is_begun_when_the_process_ends() -> None:
    thread, worker = DeviceThread(), Steps(10**9)
    thread.wake(worker)
    thread._rest()
    assert worker.done.wait(60)
    assert worker.errors == [None]
    with pytest.raises(DeviceError, match="ending"):
        thread.run(lambda: 1)
