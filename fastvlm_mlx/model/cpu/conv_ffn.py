"""A ConvFFN for the CPU: pixels stay in the order in which the conv leaves them.

The MLP does not mind the order of its rows, and BLAS reads a transposed matrix as well
as any other. So the tiles of the conv are never turned into an image; only what the
MLP makes of them is, where a pixel's channels lie together and are moved as one.

Shapes: B batch, H and W pixels, C channels, R = rows of pixels in any order.
"""

from collections.abc import Callable
from functools import partial

from ...device.backend import mx
from .depthwise import in_tiles, joined


def conv_ffn(
    x: mx.array,
    residual: mx.array,
    weight: mx.array,
    mlp: Callable[[mx.array], mx.array],
) -> mx.array:
    """residual + mlp(conv(x)), the conv depthwise and without bias.

    Args:
        x: (B, H, W, C), as is `residual`.
        weight: (C, k, k, 1), k odd.
        mlp: (R, C) -> (R, C), row by row.

    Returns:
        (B, H, W, C).
    """
    tiles = in_tiles(x, weight, 1)
    rows = mlp(tiles.reshape(tiles.shape[0], -1).T)
    mixed = joined(rows.reshape(*tiles.shape[1:], -1), (x.shape[1], x.shape[2]))
    return _sum(mixed, residual)


@partial(mx.compile, shapeless=True)
def _sum(a: mx.array, b: mx.array) -> mx.array:
    return a + b
