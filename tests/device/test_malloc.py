"""Freed memory is there for the next array, in the main thread and in others."""

import subprocess
import sys

import pytest

MEASURE = """
import resource, threading
from fastvlm_mlx.device.backend import mx

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def measure():
    x = mx.zeros((4096, 4096)); mx.eval(x)  # 64 MB
    for _ in range(3): mx.eval(x + 1)
    before = faults()
    for _ in range(5): mx.eval(x + 1)
    print(faults() - before)

measure()
thread = threading.Thread(target=measure); thread.start(); thread.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_pages_are_not_faulted_in_again() -> None:
    command = [sys.executable, "-c", MEASURE]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    fresh = 5 * 4096 * 4096 * 4 // 4096  # what five results would fault in
    assert all(int(line) < fresh / 10 for line in done.stdout.split())
    assert len(done.stdout.split()) == 2
