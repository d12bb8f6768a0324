"""How every benchmark measures: in turn, warmed up, medians, beside its machine.

Machines drift, so competitors run A B A B … in one process and are compared by medians.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version

from fastvlm_mlx.device import blas
from fastvlm_mlx.device.backend import current, mx

Job = Callable[[], object]

PACKAGES = ("mlx", "mlx-lm", "numpy")


def time_in_turn(jobs: Mapping[str, Job], runs: int) -> dict[str, float]:
    """Median seconds of each job, after one run to warm up.

    A job returns once its work is done, not merely scheduled.
    """
    for job in jobs.values():
        job()
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(runs):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in times.items()}


def machine() -> dict[str, object]:
    """What a number must be read with."""
    return {
        "backend": current(),
        "device": str(mx.device_info().get("device_name", "")),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "blas": os.path.basename(blas.load() or "MLX's own"),
        **{name: version(name) for name in PACKAGES},
    }


def report(name: str, results: object) -> None:
    """The last line of every benchmark."""
    print(json.dumps({"benchmark": name, "machine": machine(), "results": results}))
