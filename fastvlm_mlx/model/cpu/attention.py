"""Attention for the CPU, where exp is scalar code and softmax waits for it."""

import math
from functools import partial

from ...device.backend import mx

_SCORES = 1 << 22
"""Scores in flight at a time: 16 MB, which bounds the memory of large images."""

_LOWEST = -120.0
"""Below this, a power of two is no longer a normal float32; it counts as nothing."""

_ROUNDER = 1.5 * 2.0**23
"""A float32 of this size has no fraction left: adding it rounds to whole numbers."""

_POWER = (
    1.0000001192092896,
    0.6931469440460205,
    0.24022121727466583,
    0.05550742521882057,
    0.009675459936261177,
    0.0013266970636323094,
)
"""2**x on [-1/2, 1/2] to 1.4e-7 of itself: a polynomial fitted to it there."""


def attention(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
    """softmax(q kᵀ) v, some heads at a time: each (B, heads, N, D) -> the same.

    The softmax is to the base 2, with the scores scaled to match, and is divided by
    its sum after the second matmul, where a row has D numbers and no longer N.
    """
    q = q * math.log2(math.e)
    ones = mx.ones((*v.shape[:-1], 1), v.dtype)
    v = mx.concatenate([v, ones], axis=-1)  # the last column of the product: the sum
    step = max(1, _SCORES // (q.shape[0] * q.shape[2] ** 2))
    pieces = [slice(start, start + step) for start in range(0, q.shape[1], step)]
    product = mx.concatenate(
        [_weighted(q[:, heads], k[:, heads], v[:, heads]) for heads in pieces], axis=1
    )
    return product[..., :-1] / product[..., -1:]


def _weighted(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
    scores = q @ k.swapaxes(-1, -2)  # (B, heads, N, N)
    return exp2(scores - scores.max(axis=-1, keepdims=True)) @ v


def exp2(x: mx.array) -> mx.array:
    """2**x for x <= 0, to 3e-7 of itself and to 1e-36; any shape, float32.

    The whole part of x becomes the exponent by integer arithmetic on the bits. It is
    done in three passes, since the compiler vectorizes each but not all of them joined.
    """
    shifted, rest = _whole_and_rest(mx.maximum(x, _LOWEST))
    power = _power(rest)
    bits = _with_exponent(shifted.view(mx.int32), power.view(mx.int32))
    return bits.view(mx.float32)


@partial(mx.compile, shapeless=True)
def _whole_and_rest(x: mx.array) -> tuple[mx.array, mx.array]:
    """x rounded, in the low bits of a float, and what is left, in [-1/2, 1/2]."""
    shifted = x + _ROUNDER
    return shifted, x - (shifted - _ROUNDER)


@partial(mx.compile, shapeless=True)
def _power(x: mx.array) -> mx.array:
    c0, c1, c2, c3, c4, c5 = _POWER
    x2 = x * x
    value: mx.array = (c0 + c1 * x) + x2 * (c2 + c3 * x) + (x2 * x2) * (c4 + c5 * x)
    return value


@partial(mx.compile, shapeless=True)
def _with_exponent(shifted: mx.array, power: mx.array) -> mx.array:
    """Add the low bits of `shifted` to the exponent of `power`; the rest falls off."""
    return power + mx.left_shift(shifted, 23)
