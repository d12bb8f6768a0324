"""A matmul with packed weights for the CPU, where MLX's own reads them one by one.

Shapes: O outputs, I inputs of the layer, n weights in a 32-bit word.
"""

from collections.abc import Callable
from functools import partial

from ...device.backend import mx

_WEIGHTS = 1 << 23
"""Weights unpacked at a time: a bound on the memory, 32 MB."""

_FEW = 2
"""Up to this many rows MLX's own kernel is as fast as unpacking."""


def packed_matmul(
    x: mx.array,
    weight: mx.array,
    scales: mx.array,
    biases: mx.array | None,
    group_size: int,
    bits: int,
    mode: str,
) -> mx.array:
    """x times the transpose of a packed matrix.

    Args:
        x: (..., I).
        weight: (O, I/n), uint32, and what else `mx.quantize` gives with it.

    Returns:
        (..., O).
    """
    rows = x.reshape(-1, x.shape[-1])
    if rows.shape[0] <= _FEW:
        return mx.quantized_matmul(
            x, weight, scales, biases, True, group_size, bits, mode
        )
    by_place = mode == "affine" and 32 % bits == 0
    product_of: Callable[..., mx.array] = (
        _by_place if by_place else partial(_by_row, mode=mode)
    )
    step = max(1, _WEIGHTS // rows.shape[1])
    product = mx.concatenate(
        [
            product_of(
                rows,
                weight[start : start + step],
                scales[start : start + step],
                None if biases is None else biases[start : start + step],
                group_size,
                bits,
            )
            for start in range(0, weight.shape[0], step)
        ],
        axis=-1,
    )
    return product.reshape(*x.shape[:-1], -1)


def _by_place(
    x: mx.array,
    weight: mx.array,
    scales: mx.array,
    biases: mx.array,
    group_size: int,
    bits: int,
) -> mx.array:
    """One matmul for each place in a word, with the inputs of that place.

    Weights are unpacked by a shift and a mask of whole rows of words, which the
    compiler vectorizes; their own order would be an interleaving, which it does not.
    """
    places = 32 // bits
    repeats = group_size // places  # words that share a scale
    scales, biases = (mx.repeat(a, repeats, axis=1) for a in (scales, biases))
    inputs = mx.contiguous(x.reshape(x.shape[0], -1, places).transpose(2, 0, 1))
    total = mx.array(0.0)
    for place in range(places):
        part = _unpacked(weight.view(mx.int32), bits * place, bits, scales, biases)
        total = mx.addmm(total, inputs[place], part.T)
    return total


@partial(mx.compile, shapeless=True)
def _unpacked(
    words: mx.array, shift: int, bits: int, scales: mx.array, biases: mx.array
) -> mx.array:
    """(O, I/n): the mask also takes off the sign that the shift drags along."""
    whole = (words >> shift) & ((1 << bits) - 1)
    return whole.astype(mx.float32) * scales + biases


def _by_row(
    x: mx.array,
    weight: mx.array,
    scales: mx.array,
    biases: mx.array | None,
    group_size: int,
    bits: int,
    mode: str,
) -> mx.array:
    dense = mx.dequantize(weight, scales, biases, group_size, bits, mode)
    return x @ dense.astype(x.dtype).T
