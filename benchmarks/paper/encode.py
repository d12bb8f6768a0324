"""How long an encoder takes for one picture.

Tiles are encoded one after another, as the paper counts them, so one is measured.
"""

import statistics
import time

import mlx.nn as nn

from benchmarks.encoders.catalogue import ENCODERS
from benchmarks.encoders.random_weights import randomize
from benchmarks.harness import Job
from fastvlm_mlx import ops
from fastvlm_mlx.backend import mx, pick_dtype

LONG = 15.0
"""Seconds from which on a run is its own warm-up: what is first costs little then."""


def encode_seconds(encoder: str, side: int, runs: int) -> float:
    """Median time of one picture (1, side, side, 3), random weights."""
    mx.clear_cache()  # of the network before
    network = ENCODERS[encoder].build(side)
    randomize(network, pick_dtype())
    pixel_values = mx.random.uniform(shape=(1, side, side, 3)).astype(pick_dtype())
    compile_operations(network)
    return seconds(lambda: mx.eval(network(pixel_values)), runs)


def compile_operations(network: nn.Module) -> None:
    """Have MLX compile what it will need, which on the CPU takes seconds.

    A convolutional network takes any size; a ViT only its own, but what it compiles is
    its activation.
    """
    x = mx.zeros((1, 128, 128, 3), dtype=pick_dtype())
    convolutional = hasattr(network, "stages")
    mx.eval(network(x) if convolutional else ops.gelu(x))


def seconds(job: Job, runs: int) -> float:
    """Median seconds of a job, after one run to warm up unless that took long."""
    first = _timed(job)
    if first > LONG:
        return first
    return statistics.median(_timed(job) for _ in range(runs))


def _timed(job: Job) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start
