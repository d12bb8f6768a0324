"""A ConvFFN for the CPU: pixels stay in the order in which the conv leaves them.

The MLP does not mind the order of its rows, and BLAS reads a transposed matrix as well
as any other. So the tiles of the conv are never turned into a picture; only what the
MLP makes of them is, where a pixel's channels lie together and are moved as one.

Shapes: B batch, H and W pixels, C channels, R = rows of pixels in any order.
"""

import os
from collections.abc import Callable
from functools import partial

from ..backend import mx
from .depthwise import in_tiles, joined

_BESIDE = mx.new_thread_local_stream(mx.cpu)
"""A second thread for what BLAS has no part in; MLX runs each stream on one."""

_WORTH_IT = 1 << 18
"""Numbers that take longer to compute than another thread to be woken."""

Rows = Callable[[mx.array], mx.array]


def conv_ffn(
    x: mx.array, residual: mx.array, weight: mx.array, up: Rows, bend: Rows, down: Rows
) -> mx.array:
    """residual + down(bend(up(conv(x)))), the conv depthwise and without bias.

    Args:
        x: (B, H, W, C), as is `residual`.
        weight: (C, k, k, 1), k odd.
        up: (R, C) -> (R, D), a matmul.
        bend: (R, D) -> (R, D), number by number.
        down: (R, D) -> (R, C), a matmul.

    Returns:
        (B, H, W, C).
    """
    tiles = in_tiles(x, weight, 1)
    hidden = up(tiles.reshape(tiles.shape[0], -1).T)
    mixed = mx.concatenate([down(half) for half in _in_halves(bend, hidden)])
    tiles = mixed.reshape(*tiles.shape[1:], tiles.shape[0])
    return _sum(joined(tiles, (x.shape[1], x.shape[2])), residual)


def _in_halves(bend: Rows, hidden: mx.array) -> list[mx.array]:
    """Each on a thread of its own, where there are two and it pays."""
    if hidden.size < _WORTH_IT or os.cpu_count() == 1:
        return [bend(hidden)]
    middle = hidden.shape[0] // 2
    with mx.stream(_BESIDE):
        second = bend(hidden[middle:])
    return [bend(hidden[:middle]), second]


@partial(mx.compile, shapeless=True)
def _sum(a: mx.array, b: mx.array) -> mx.array:
    return a + b
