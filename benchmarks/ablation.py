"""What each optimisation is worth on the CPU: `python -m benchmarks.ablation`.

One encode with everything, and with each thing taken away, every variant in a process
of its own, since BLAS and malloc are chosen once per process; then one prefill by the
form that packed weights take, and with the head on every position.
"""

import argparse
import json
import statistics
import subprocess
import sys

import mlx.nn as nn

from benchmarks.measuring.geometry import packed_language_model
from benchmarks.measuring.harness import Job, report, time_in_turn
from benchmarks.measuring.parts import prefill_job
from fastvlm_mlx.device.backend import mx, pick_dtype
from fastvlm_mlx.model import language
from fastvlm_mlx.model.dequantize import dequantize, unpack_on_the_way
from fastvlm_mlx.model.fused_projections import join_projections

ENCODE = """
import json, sys
from benchmarks.encode import our_job
from benchmarks.measuring.geometry import random_tower
from benchmarks.measuring.harness import time_in_turn
side, runs = map(int, sys.argv[1:])
times = time_in_turn({"job": our_job(random_tower(), side)}, runs)
print(json.dumps(times["job"]))
"""

WITHOUT = {
    "everything on": "",
    "without OpenBLAS": "import os; os.environ['FASTVLM_MLX_BLAS'] = '0'",
    "without keeping freed memory": (
        "import os; os.environ['FASTVLM_MLX_KEEP_MEMORY'] = '0'"
    ),
    "OpenBLAS's threads wait": """
import os
os.environ["OPENBLAS_THREAD_TIMEOUT"] = "26"  # its default
""",
    "ConvFFN by its plain operations": """
from fastvlm_mlx.model import cpu as cpu_forms
from fastvlm_mlx.model.cpu import depthwise
def plain(x, residual, weight, mlp):
    tokens = depthwise.depthwise_conv(x, weight, 1).reshape(-1, x.shape[-1])
    return residual + mlp(tokens).reshape(x.shape)
cpu_forms.conv_ffn = plain
""",
    "MLX's grouped conv": """
from fastvlm_mlx.device import backend
from fastvlm_mlx.model import cpu as cpu_forms
cpu_forms.depthwise_conv = lambda x, weight, stride: backend.mx.conv2d(
    x, weight, stride, weight.shape[1] // 2, groups=weight.shape[0])
""",
    "3x3 convs as tiles too": """
from fastvlm_mlx.model.cpu import depthwise
depthwise._SMALL = 0
""",
    "7x7 convs tap by tap too": """
from fastvlm_mlx.model.cpu import depthwise
depthwise._SMALL = 7
""",
    "MLX's erf": """
from fastvlm_mlx.model import ops
ops._ON_CPU = ops._ANYWHERE
""",
    "MLX's attention": """
from fastvlm_mlx.device import backend
from fastvlm_mlx.model import cpu as cpu_forms
cpu_forms.attention = (
    lambda q, k, v: backend.mx.fast.scaled_dot_product_attention(q, k, v, scale=1.0))
""",
    "without mx.compile": """
from fastvlm_mlx.device import backend
backend.mx.disable_compile()
""",
}
"""Code that takes one thing away, run before anything else of ours."""


def encode_in_its_own_process(without: str, side: int, runs: int) -> float:
    """Median seconds of one encode."""
    command = [sys.executable, "-c", WITHOUT[without] + ENCODE, str(side), str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def encodes(side: int, runs: int, rounds: int, names: list[str]) -> dict[str, float]:
    """Every variant in turn, `rounds` times; medians."""
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            times[name].append(encode_in_its_own_process(name, side, runs))
    return {name: statistics.median(each) for name, each in times.items()}


def prefills(positions: int, runs: int, as_stored: bool) -> dict[str, float]:
    """The 4-bit 0.5B model in every form that its weights may take on the CPU."""
    dense, unpacking, joined = (packed_language_model("0.5B", 4) for _ in range(3))
    for model in (dense, joined):
        dequantize(model, pick_dtype())
    unpack_on_the_way(unpacking)
    join_projections(joined)
    mx.eval(dense.parameters(), joined.parameters())
    jobs = {
        "dense": prefill_job(dense, positions),
        "dense, head on every position": head_on_every_position(dense, positions),
        "dense, joined projections": prefill_job(joined, positions),
        "unpacked on the way": prefill_job(unpacking, positions),
    }
    if as_stored:
        stored = packed_language_model("0.5B", 4)
        jobs["as mlx-lm has it"] = prefill_job(stored, positions)
    return time_in_turn(jobs, runs)


def head_on_every_position(model: nn.Module, positions: int) -> Job:
    """A prefill that computes logits nobody reads."""
    embeds = mx.zeros((1, positions, model.args.hidden_size))

    def run() -> None:
        hidden = language.hidden_states(model, embeds, language.make_cache(model))
        mx.eval(language.apply_head(model, hidden))

    return run


def main() -> None:
    """Print a table, and a line of JSON."""
    parser = argparse.ArgumentParser(description="Time without each optimisation.")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--without", nargs="+", choices=WITHOUT, default=list(WITHOUT))
    parser.add_argument("--positions", type=int, default=280, help="0: no prefill")
    parser.add_argument(
        "--as-stored", action="store_true", help="packed kernels too: a minute each"
    )
    arguments = parser.parse_args()
    results = {
        f"encode {arguments.side} px": encodes(
            arguments.side, arguments.runs, arguments.rounds, arguments.without
        )
    }
    if arguments.positions:
        results[f"prefill {arguments.positions}"] = prefills(
            arguments.positions, arguments.runs, arguments.as_stored
        )
    for task, times in results.items():
        first = next(iter(times.values()))
        for name, took in times.items():
            print(f"{task:15} {name:32} {1000 * took:8.0f} ms   {took / first:5.2f}")
    report("ablation", results)


if __name__ == "__main__":
    main()
