"""Freed memory is there for the next array, in the main thread and in others."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")

MEASURE = """
import resource, threading
from fastvlm_mlx.device.setup import configure
from fastvlm_mlx.device.backend import mx
{setup}

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

FRESH = 5 * 4096 * 4096 * 4 // 4096
"""What five results fault in where each gets new pages."""


def faults(setup: str, **environment: str) -> list[int]:
    """Page faults of five large results, in the main thread and in another."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE.format(setup=setup)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    counts = [int(line) for line in done.stdout.split()]
    assert len(counts) == 2
    return counts


def test_pages_are_not_faulted_in_again() -> None:
    assert max(faults("configure()")) < FRESH / 10


@pytest.mark.parametrize(
    ("setup", "environment"),
    [
        ("import fastvlm_mlx.engine", {}),  # only `load` changes the process
        ("configure()", {"FASTVLM_MLX_KEEP_MEMORY": "0"}),
    ],
)
def test_malloc_is_left_as_it_was(setup: str, environment: dict[str, str]) -> None:
    # huge pages are faulted in at once, so a few faults may stand for many
    assert max(faults(setup, **environment)) > max(faults("configure()")) + 10
