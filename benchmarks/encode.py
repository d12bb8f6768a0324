"""One encode of FastViTHD by resolution: `python -m benchmarks.encode`.

Random weights of the true geometry (125 M), float32 on the CPU or the backend's own
dtype. Beside ours stands the same network in plain MLX operations (`mx.conv2d` with
groups, erf), and torch with timm's fused `fastvit_mci3` where both are installed.
"""

import argparse
import importlib
from collections.abc import Callable
from unittest import mock

from benchmarks.measuring.harness import Job, report, time_in_turn
from fastvlm_mlx.config import FASTVITHD
from fastvlm_mlx.device.backend import mx, pick_dtype
from fastvlm_mlx.model.vision import FastViTHD


def our_job(tower: FastViTHD, side: int) -> Job:
    """Encode one picture, to the end."""
    pixel_values = mx.random.uniform(shape=(1, side, side, 3)).astype(pick_dtype())
    return lambda: mx.eval(tower(pixel_values))


def with_plain_operations(job: Job) -> Job:
    """The same work without the CPU's own forms."""

    def run() -> object:
        # any backend that is not the CPU
        with mock.patch("fastvlm_mlx.model.ops.current", return_value="metal"):
            return job()

    return run


def torch_job() -> Callable[[int], Job] | None:
    """timm's fused FastViTHD in float32, channels last, if it can be had."""
    try:
        import torch

        importlib.import_module("benchmarks.nano.torchvision_stub")  # before timm
        from timm.models import create_model
    except ImportError:
        return None
    model = create_model("fastvit_mci3", inference_mode=True, num_classes=0).eval()
    model = model.to(memory_format=torch.channels_last)

    def job(side: int) -> Job:
        pixel_values = torch.rand(1, 3, side, side)
        pixel_values = pixel_values.to(memory_format=torch.channels_last)

        def run() -> object:
            with torch.inference_mode():
                return model.forward_features(pixel_values)

        return run

    return job


def main() -> None:
    """Print a table of medians, and a line of JSON."""
    parser = argparse.ArgumentParser(description="Time one encode by resolution.")
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    tower = FastViTHD(FASTVITHD)
    tower.set_dtype(pick_dtype())
    mx.eval(tower.parameters())
    of_torch = torch_job()
    results = {}
    for side in arguments.sides:
        ours = our_job(tower, side)
        jobs = {"ours": ours, "plain MLX": with_plain_operations(ours)}
        if of_torch is not None:
            jobs["torch fused"] = of_torch(side)
        results[side] = time_in_turn(jobs, arguments.runs)
        cells = [f"{name} {1000 * took:.0f} ms" for name, took in results[side].items()]
        print(f"{side:5} px  " + "   ".join(cells), flush=True)
    report("encode", results)


if __name__ == "__main__":
    main()
