"""Quantized layers as dense ones, for the CPU.

MLX's CPU kernels for packed weights reach about 3 GFLOP/s, thirty times less than a
float32 matmul through BLAS, and even a single row is faster from a dense copy
(benchmarks/README.md). So on the CPU quantization saves disk and download, and memory
only where a dense copy does not fit. The numbers are the same: the dense weights are
exactly what the packed ones stand for.
"""

import mlx.nn as nn
from mlx.utils import tree_map_with_path

from .backend import mx


def dequantize(model: nn.Module, dtype: mx.Dtype) -> None:
    """Replace every quantized Linear and Embedding of a model by a dense one."""
    leaves = tree_map_with_path(
        lambda _, module: _dense(module, dtype),
        model.leaf_modules(),
        is_leaf=nn.Module.is_module,
    )
    model.update_modules(leaves)


def dense_fits(model: nn.Module, limit: int) -> bool:
    """Whether a float32 copy would take at most half of a limit in bytes."""
    weights = sum(
        module.weight.size * 32 // module.bits
        for _, module in model.named_modules()
        if isinstance(module, nn.QuantizedLinear | nn.QuantizedEmbedding)
    )
    return int(4 * weights) <= limit // 2


def _dense(module: nn.Module, dtype: mx.Dtype) -> nn.Module:
    if not isinstance(module, nn.QuantizedLinear | nn.QuantizedEmbedding):
        return module
    # affine scales have that dtype already; the other modes give bfloat16, exactly
    weight = _dequantized(module).astype(dtype)
    rows, columns = weight.shape
    if isinstance(module, nn.QuantizedEmbedding):
        dense: nn.Module = nn.Embedding(rows, columns)
    else:
        dense = nn.Linear(columns, rows, bias="bias" in module)
    if "bias" in module:
        dense.bias = module.bias
    dense.weight = weight
    return dense


def _dequantized(module: nn.Module) -> mx.array:
    """(rows, columns), lazily."""
    return mx.dequantize(
        module.weight,
        module.scales,
        module.get("biases"),
        module.group_size,
        module.bits,
        module.mode,
    )
