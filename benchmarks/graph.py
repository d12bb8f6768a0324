"""Counts that no machine changes: `python -m benchmarks.graph`.

Nodes of the graph of one encode and of one decoded token, in the form that GPUs get and
in the CPU's; those of them that are kernels and not mere views; multiply-adds and
bytes. Norms, rotations and the decoder's attention are one kernel each on a GPU; the
CPU composes them of many, so stand-ins of one node are counted in their place. Where
mlx-vlm is installed, its tower is counted as well.
"""

import argparse
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any, Literal
from unittest import mock

import mlx.nn as nn
from mlx.utils import tree_map

from benchmarks.measuring.geometry import (
    LANGUAGE_MODELS,
    packed_language_model,
    random_tower,
)
from benchmarks.measuring.harness import report
from benchmarks.measuring.parts import PREFIX, SUFFIX
from fastvlm_mlx.config import FASTVITHD, TextConfig
from fastvlm_mlx.device.backend import Backend, mx
from fastvlm_mlx.model import language
from fastvlm_mlx.model.fused_projections import join_projections
from fastvlm_mlx.model.vision import FastViTHD
from fastvlm_mlx.planning.cost import Cost, encode_cost, language_cost

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


ARITHMETIC = {"AddMM", "Convolution", "Matmul"}
"""Primitives that a GPU computes at the rate of its arithmetic, not of its memory."""


def moved(
    function: Callable[[mx.array], mx.array], x: mx.array
) -> dict[Literal["arithmetic", "passes"], int]:
    """Bytes, if every kernel reads its inputs and writes its outputs once.

    What `mx.compile` fuses counts as the kernels it was before. Passes are all kernels
    but convs and matmuls.
    """
    sizes: dict[str, int] = {}  # of views: what they let see, at most
    total: dict[Literal["arithmetic", "passes"], int] = {"arithmetic": 0, "passes": 0}

    def size(name: str, shape: tuple[int, ...], dtype: mx.Dtype) -> int:
        own = math.prod(shape) * dtype.size
        return min(own, sizes.get(name, own))

    def add(event: dict[str, Any]) -> None:
        if event["type"] != "primitive":
            return
        inputs = [size(*each) for each in event["inputs"]]
        if event["name"] in VIEWS:
            for name, *_ in event["outputs"]:
                sizes[name] = sum(inputs)
        else:
            outputs = [size(*each) for each in event["outputs"]]
            kind: Literal["arithmetic", "passes"] = (
                "arithmetic" if event["name"] in ARITHMETIC else "passes"
            )
            total[kind] += sum(inputs) + sum(outputs)

    mx.export_function(add, function, x)
    return total


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


def count_encode(tower: FastViTHD, side: int, backend: Backend) -> dict[str, float]:
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
        found: dict[str, float] = {**count(tower(pixels))}
        if backend != "cpu":
            arithmetic = moved(tower, pixels)["arithmetic"] / pixels.dtype.size
            cost = encode_cost(FASTVITHD, (side, side)).bytes(2, 2)
            found["MB in passes"] = 1e-6 * (cost - 2 * arithmetic)
        return found


def count_mlx_vlm(side: int) -> dict[str, float]:
    """mlx-vlm's tower with weights and pixels in bfloat16.

    Its GELU is one compiled kernel, as `mlx.nn` has it. The last figure counts the five
    kernels that it is where nothing compiles it.
    """
    from mlx_vlm.models.fastvlm.config import VisionConfig
    from mlx_vlm.models.fastvlm.vision import VisionModel

    tower = VisionModel(VisionConfig())
    tower.update(
        tree_map(lambda each: mx.zeros(each.shape, mx.bfloat16), tower.parameters())
    )
    tower.eval()

    def encode(pixels: mx.array) -> mx.array:
        encoded = tower(pixels)
        while not isinstance(encoded, mx.array):
            encoded = encoded[0]
        return encoded

    pixels = mx.zeros((1, side, side, 3), mx.bfloat16)
    mx.eval(pixels, tower.parameters())
    apart = moved(encode, pixels)["passes"]
    with mock.patch.object(nn.GELU, "__call__", lambda _, x: mx.negative(x)):
        fused = moved(encode, pixels)
    return {
        **count(encode(pixels)),
        "MB": 1e-6 * sum(fused.values()),
        "MB in passes": 1e-6 * fused["passes"],
        "MB in passes, GELU of five": 1e-6 * apart,
    }


def count_token(model: nn.Module) -> dict[str, int]:
    """One decoded token, after one that is in the cache."""
    cache = language.make_cache(model)
    with one_kernel_each("rms_norm", "rope", "scaled_dot_product_attention"):
        mx.eval(language.hidden_states(model, _embedded(model), cache))
        hidden = language.hidden_states(model, _embedded(model), cache)
        return count(language.apply_head(model, hidden).argmax(-1))


def prefills(config: TextConfig, side: int, bits: int) -> dict[str, dict[str, float]]:
    """An image's prompt with the head on its last position, and on every one."""
    positions = PREFIX + (side // 64) ** 2 + SUFFIX
    last = language_cost(config, positions, positions, causal=False)
    head = config.hidden_size * config.vocab_size
    rest = Cost((positions - 1) * head, (positions - 1) * config.vocab_size)
    name = f"prefill of {positions}, head on"
    return {
        f"{name} {where}": {
            "GFLOP": 2e-9 * cost.multiply_adds,
            "MB": 1e-6 * cost.bytes(2, (bits + 0.5) / 8),
        }
        for where, cost in (("the last", last), ("every one", last + rest))
    }


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
        cost = encode_cost(FASTVITHD, (side, side))
        costs = {"GFLOP": 1e-9 * cost.flops, "MB": 1e-6 * cost.bytes(2, 2)}
        for backend in ("metal", "cpu"):
            results[f"encode {side} px, form for {backend}"] = {
                **count_encode(tower, side, backend),
                **costs,
            }
        if find_spec("mlx_vlm"):
            results[f"encode {side} px, mlx-vlm's"] = count_mlx_vlm(side)
    config = LANGUAGE_MODELS[arguments.size]
    for side in arguments.sides:
        results |= prefills(config, side, arguments.bits)
    model = packed_language_model(arguments.size, arguments.bits)
    token = language_cost(config, 1, 280, causal=False)
    costs = {
        "GFLOP": 1e-9 * token.flops,
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
