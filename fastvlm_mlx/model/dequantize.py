"""Quantized layers on the CPU: dense ones, or packed ones that unpack on their way.

MLX's CPU kernels for packed weights reach about 3 GFLOP/s, thirty times less than a
float32 matmul through BLAS. A dense copy is the fastest for a single row too
(benchmarks/README.md), so on the CPU quantization saves disk and download, and memory
where a dense copy does not fit. The numbers are the same: the dense weights are
exactly what the packed ones stand for.
"""

import mlx.nn as nn
from mlx.utils import tree_map_with_path

from ..device.backend import mx
from .ops import packed_matmul


def prepare(model: nn.Module, dtype: mx.Dtype, limit: int) -> None:
    """Give every quantized layer of a model the form that is fast on the CPU.

    Args:
        dtype: of the layers that are made dense.
        limit: bytes that the model may take, see `dense_fits`.
    """
    if dense_fits(model, limit):
        dequantize(model, dtype)
    else:
        unpack_on_the_way(model)


class PackedLinear(nn.QuantizedLinear):
    """nn.QuantizedLinear by the CPU's own form of its matmul."""

    def __init__(self, layer: nn.QuantizedLinear) -> None:
        _take_over(self, layer)

    def __call__(self, x: mx.array) -> mx.array:
        product = packed_matmul(x, self)
        return product + self.bias if "bias" in self else product


class PackedEmbedding(nn.QuantizedEmbedding):
    """nn.QuantizedEmbedding whose use as a head has the CPU's own form."""

    def __init__(self, layer: nn.QuantizedEmbedding) -> None:
        _take_over(self, layer)

    def as_linear(self, x: mx.array) -> mx.array:
        return packed_matmul(x, self)


def _take_over(new: nn.Module, layer: nn.Module) -> None:
    """The arrays and the packing of an existing layer."""
    nn.Module.__init__(new)
    new.group_size, new.bits, new.mode = layer.group_size, layer.bits, layer.mode
    for name, array in layer.items():
        new[name] = array


def unpack_on_the_way(model: nn.Module) -> None:
    """Leave the weights of a model packed and change how they are used."""
    leaves = tree_map_with_path(
        lambda _, module: _unpacking(module),
        model.leaf_modules(),
        is_leaf=nn.Module.is_module,
    )
    model.update_modules(leaves)


def _unpacking(module: nn.Module) -> nn.Module:
    if isinstance(module, nn.QuantizedLinear):
        return PackedLinear(module)
    if isinstance(module, nn.QuantizedEmbedding):
        return PackedEmbedding(module)
    return module


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
