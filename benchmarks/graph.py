"""Counts that no machine changes: `python -m benchmarks.graph`.

Nodes of the graph of one encode and of one decoded token, in the form that GPUs get and
in the CPU's; those of them that are kernels and not mere views; multiply-adds and
bytes. Norms, rotations and the decoder's attention are one kernel each on a GPU; the
CPU composes them of many, so stand-ins of one node are counted in their place.
"""

import argparse
import io
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import mlx.nn as nn

from benchmarks.measuring import work
from benchmarks.measuring.geometry import (
    LANGUAGE_MODELS,
    packed_language_model,
    random_tower,
)
from benchmarks.measuring.harness import report
from fastvlm_mlx.config import FASTVITHD
from fastvlm_mlx.device.backend import Backend, mx
from fastvlm_mlx.model import language
from fastvlm_mlx.model.fused_projections import join_projections
from fastvlm_mlx.model.vision import FastViTHD

VIEWS = {
    "AsStrided",
    "Broadcast",
    "BroadcastAxes",
    "Depends",
    "ExpandDims",
    "Flatten",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "StopGradient",
    "Transpose",
    "Unflatten",
    "View",
}
"""MLX primitives that start no kernel as a rule; Reshape does where it must copy."""


def count(output: mx.array) -> dict[str, int]:
    """Nodes of a graph not computed yet, and those that are kernels."""
    dot = io.StringIO()
    mx.export_to_dot(dot, output)
    names = Counter(re.findall(r'label ="(\w+)', dot.getvalue()))
    views = sum(number for name, number in names.items() if name in VIEWS)
    return {"nodes": names.total(), "kernels": names.total() - views}


def _one_node(x: mx.array, *_: object, **__: object) -> mx.array:
    return mx.negative(x)


def _one_attention(q: mx.array, k: mx.array, v: mx.array, **_: object) -> mx.array:
    attended: mx.array = mx.depends([mx.negative(q)], [k, v])[0]
    return attended


@contextmanager
def one_kernel_each(*names: str) -> Iterator[None]:
    """Let functions of `mx.fast` be one node, as they are on a GPU."""
    with ExitStack() as stack:
        for name in names:
            attention = name == "scaled_dot_product_attention"
            single = _one_attention if attention else _one_node
            stack.enter_context(mock.patch.object(mx.fast, name, single))
        yield


def count_encode(tower: FastViTHD, side: int, backend: Backend) -> dict[str, int]:
    """One picture, as that backend gets it.

    The tower's heads of 32 miss Metal's fused attention, which stays composed.
    """
    fused = [] if backend == "cpu" else ["layer_norm"]
    patched = mock.patch("fastvlm_mlx.model.ops.current", return_value=backend)
    with patched, one_kernel_each(*fused):
        small = mx.zeros((1, 64, 64, 3))
        mx.eval(tower(small))  # transposed views are made once
        pixels = mx.zeros((1, side, side, 3))
        mx.eval(pixels)
        return count(tower(pixels))


def count_token(model: nn.Module) -> dict[str, int]:
    """One decoded token, after one that is in the cache."""
    cache = language.make_cache(model)
    with one_kernel_each("rms_norm", "rope", "scaled_dot_product_attention"):
        mx.eval(language.hidden_states(model, _embedded(model), cache))
        hidden = language.hidden_states(model, _embedded(model), cache)
        return count(language.apply_head(model, hidden).argmax(-1))


def _embedded(model: nn.Module) -> mx.array:
    embedded = language.embed(model, mx.array([[1]]))
    mx.eval(embedded)
    return embedded


def main() -> None:
    """Print a table, and a line of JSON."""
    parser = argparse.ArgumentParser(description="Count nodes, kernels, FLOPs, bytes.")
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--size", choices=LANGUAGE_MODELS, default="0.5B")
    parser.add_argument("--bits", type=int, default=4)
    arguments = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    tower = random_tower()
    for side in arguments.sides:
        cost = work.encode(FASTVITHD, side)
        costs = {"GFLOP": 2e-9 * cost.multiply_adds, "MB": 1e-6 * cost.bytes(2, 2)}
        for backend in ("metal", "cpu"):
            results[f"encode {side} px, form for {backend}"] = {
                **count_encode(tower, side, backend),
                **costs,
            }
    model = packed_language_model(arguments.size, arguments.bits)
    token = work.language_model(LANGUAGE_MODELS[arguments.size], 1, 280)
    costs = {
        "GFLOP": 2e-9 * token.multiply_adds,
        "MB": 1e-6 * token.bytes(2, (arguments.bits + 0.5) / 8),
    }
    results["one token, mlx-lm's layers"] = {**count_token(model), **costs}
    join_projections(model)
    results["one token, joined"] = {**count_token(model), **costs}
    for name, row in results.items():
        cells = [f"{value:8.0f} {unit}" for unit, value in row.items()]
        print(f"{name:34}", *cells)
    report("graph", results)


if __name__ == "__main__":
    main()
