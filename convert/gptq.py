"""Rounding with a view to what a layer sees: GPTQ (arXiv 2210.17323), on arrays alone.

Plain rounding makes each weight's error as small as it can be. What counts is the
error of the layer's output on real inputs: where inputs go together, the error of one
weight can be taken back by the next. The second moments of the inputs ("Hessian") say
where. Columns are rounded one by one, those with the largest inputs first, and each
one's error is spread over the columns that are still to come.

mlx-lm has GPTQ, too. Ours differs in that one layer's Hessians are held at a time and
not those of all (49 GB for a 7B model), in 3, 5 and 6 bits, and in inputs that have
images among them.

Shapes: O outputs, I inputs, G groups per row, g group size.
"""

import numpy as np
from numpy.typing import NDArray

from fastvlm_mlx.config import Packing
from fastvlm_mlx.device.backend import mx

from .layout import Weights

Floats = NDArray[np.float32]

DAMPING = 0.01
"""Added to the diagonal, of its mean: inputs never seen must not have no weight."""

SHRINKS = tuple(1 - 0.04 * step for step in range(11))
"""How far the range of a group is narrowed in the search for its scale."""

BLOCK = 128
"""Columns rounded before their errors are spread over all the rest at once."""


def pack_for_inputs(weight: mx.array, hessian: mx.array, packing: Packing) -> Weights:
    """Pack a matrix so that its outputs change little.

    Args:
        weight: (O, I).
        hessian: (I, I), float32, sum of x xᵀ over inputs x.
        packing: affine.

    Returns:
        `weight`, `scales` and `biases` as mx.quantize makes them; the latter in the
        weight's dtype.
    """
    weights = np.array(weight.astype(mx.float32))
    moments = np.array(hessian)
    importance = np.maximum(moments.diagonal(), 1e-12).astype(np.float32)
    scales, biases = _search_scales(weights, importance, packing)
    # the codes must be right for the scales as they are stored
    stored = [mx.array(each).astype(weight.dtype) for each in (scales, biases)]
    scales, biases = (np.array(each.astype(mx.float32)) for each in stored)
    codes = _round(weights, moments, scales, biases, packing)
    return {
        "weight": mx.array(_pack_bits(codes, packing.bits)),
        "scales": stored[0],
        "biases": stored[1],
    }


def _search_scales(
    weights: Floats, importance: Floats, packing: Packing
) -> tuple[Floats, Floats]:
    """Scales and biases (O, G): the narrowing of each group that costs least."""
    groups = weights.reshape(len(weights), -1, packing.group_size)  # (O, G, g)
    matters = importance.reshape(1, -1, packing.group_size)
    low, high = groups.min(-1), groups.max(-1)
    best = np.full(low.shape, np.inf, np.float32)
    scales, biases = np.empty_like(low), np.empty_like(low)
    for shrink in SHRINKS:
        scale = np.maximum((high - low) * shrink / _most(packing), 1e-12)
        bias = low * shrink
        codes = _codes(groups, scale[..., None], bias[..., None], packing)
        error = groups - (codes * scale[..., None] + bias[..., None])
        cost = (error * error * matters).sum(-1)
        better = cost < best
        best = np.where(better, cost, best)
        scales, biases = np.where(better, scale, scales), np.where(better, bias, biases)
    return scales, biases


def _round(
    weights: Floats, moments: Floats, scales: Floats, biases: Floats, packing: Packing
) -> NDArray[np.uint8]:
    """Codes (O, I), each column's error spread over those not rounded yet."""
    order = np.argsort(-moments.diagonal(), kind="stable")
    spread = _spread(moments[np.ix_(order, order)])
    left, groups = weights[:, order], order // packing.group_size
    codes = np.empty(weights.shape, np.uint8)
    for start in range(0, len(order), BLOCK):
        end = min(start + BLOCK, len(order))
        errors = np.empty((len(weights), end - start), np.float32)
        for column in range(start, end):
            scale, bias = scales[:, groups[column]], biases[:, groups[column]]
            code = _codes(left[:, column], scale, bias, packing)
            codes[:, order[column]] = code
            error = (left[:, column] - code * scale - bias) / spread[column, column]
            left[:, column:end] -= np.outer(error, spread[column, column:end])
            errors[:, column - start] = error
        left[:, end:] -= errors @ spread[start:end, end:]
    return codes


def _spread(moments: Floats) -> Floats:
    """The upper Cholesky factor of the inverse: row c says where c's error goes.

    With the order of rows and columns turned round, it is the inverse of the factor of
    the matrix itself, so that the matrix is never inverted.
    """
    damped = moments + np.eye(len(moments), dtype=np.float32) * max(
        DAMPING * float(moments.diagonal().mean()), 1e-12
    )
    turned = mx.array(np.ascontiguousarray(damped[::-1, ::-1]))
    factor = mx.linalg.cholesky(turned, stream=mx.cpu)
    inverse = mx.linalg.tri_inv(factor, stream=mx.cpu)
    return np.ascontiguousarray(np.array(inverse)[::-1, ::-1])


def _codes(weights: Floats, scale: Floats, bias: Floats, packing: Packing) -> Floats:
    codes: Floats = np.clip(np.rint((weights - bias) / scale), 0, _most(packing))
    return codes


def _most(packing: Packing) -> int:
    return (1 << packing.bits) - 1


def _pack_bits(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint32]:
    """Codes (O, I) as MLX stores them: a row is one string of bits, lowest first."""
    single = np.unpackbits(codes[..., None], axis=-1, count=bits, bitorder="little")
    packed = np.packbits(single.reshape(len(codes), -1), axis=-1, bitorder="little")
    return packed.view(np.uint32)
