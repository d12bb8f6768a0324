"""Random weights for a network that is only timed or compared."""

import math

import mlx.nn as nn
from mlx.utils import tree_map

from fastvlm_mlx.device.backend import mx


def randomize(module: nn.Module, dtype: mx.Dtype = mx.float32) -> None:
    """Draw every parameter so that activations keep their size, and make them all.

    Zeros would do for matmuls, but not for everything: dividing or exponentiating
    zeros, or the tiny numbers that they lead to, takes another time.
    """
    module.update(
        tree_map(lambda array: _draw(array.shape, dtype), module.parameters())
    )
    mx.eval(module.parameters())


def count_parameters(module: nn.Module) -> int:
    """Numbers in a module, by shapes alone: nothing is computed."""
    sizes: list[int] = []
    tree_map(lambda array: sizes.append(array.size), module.parameters())
    return sum(sizes)


def _draw(shape: tuple[int, ...], dtype: mx.Dtype) -> mx.array:
    """Matrices and kernels of variance 1 / inputs; vectors between 0.5 and 1."""
    if len(shape) < 2:
        return mx.random.uniform(0.5, 1.0, shape).astype(dtype)
    inputs = math.prod(shape[1:])
    bound = (3.0 / inputs) ** 0.5
    return mx.random.uniform(-bound, bound, shape).astype(dtype)
