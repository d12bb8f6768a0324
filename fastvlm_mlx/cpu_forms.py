"""Operations in the form that is fast on MLX's CPU backend.

There a grouped conv is a plain loop and erf is scalar code, while a float32 matmul
runs on BLAS. Each form here means what the MLX operation of its name means and is
tested against it; `ops.py` chooses, and the model does not know.
"""

from .backend import mx

_LARGE = 48
"""From this many output rows on, wider tiles pay for their larger matrices."""


def depthwise_conv(x: mx.array, weight: mx.array, stride: int) -> mx.array:
    """A depthwise conv as one batched matmul over tiles of the picture.

    The outputs of a small tile depend linearly on the patch under it, so each
    channel is a banded matrix from patches to tiles, and all its tiles one matmul.

    Args:
        x: (B, H, W, C).
        weight: (C, k, k, 1).

    Returns:
        (B, H/stride, W/stride, C), rounded up.
    """
    batch, height, width, channels = x.shape
    rows, columns = -(-height // stride), -(-width // stride)
    tile = (4, 8) if rows >= _LARGE else (4, 4)
    grid = (-(-rows // tile[0]), -(-columns // tile[1]))
    patches = _patches(x, weight.shape[1], stride, tile, grid)
    tiles = patches @ _banded(weight, stride, tile)  # (B, C, tiles, tile size)
    tiles = tiles.reshape(batch, channels, *grid, *tile)
    joined = tiles.transpose(0, 2, 4, 3, 5, 1)  # (B, grid, tile, grid, tile, C)
    joined = joined.reshape(batch, grid[0] * tile[0], grid[1] * tile[1], channels)
    return joined[:, :rows, :columns]


def _patches(
    x: mx.array, kernel: int, stride: int, tile: tuple[int, int], grid: tuple[int, int]
) -> mx.array:
    """Every tile's patch, overlapping its neighbours: (B, C, tiles, patch size)."""
    batch, height, width, channels = x.shape
    before = kernel // 2
    sides = [(grid[i] * tile[i] - 1) * stride + kernel for i in (0, 1)]
    after = (sides[0] - height - before, sides[1] - width - before)
    if min(after) < 0:  # a stride of 2 leaves the last row or column unread
        x = x[:, : height + min(after[0], 0), : width + min(after[1], 0)]
        after = (max(after[0], 0), max(after[1], 0))
    edges = [(0, 0), (0, 0), (before, after[0]), (before, after[1])]
    planes = mx.contiguous(mx.pad(x.transpose(0, 3, 1, 2), edges))  # (B, C, *sides)
    row, plane = sides[1], sides[0] * sides[1]
    patch = _patch_size(kernel, stride, tile)
    views = mx.as_strided(
        planes,
        (batch, channels, *grid, *patch),
        (channels * plane, plane, tile[0] * stride * row, tile[1] * stride, row, 1),
    )
    return views.reshape(batch, channels, grid[0] * grid[1], patch[0] * patch[1])


def _banded(weight: mx.array, stride: int, tile: tuple[int, int]) -> mx.array:
    """Each channel's matrix from a patch to a tile: (C, patch size, tile size)."""
    channels, kernel = weight.shape[0], weight.shape[1]
    patch = _patch_size(kernel, stride, tile)
    weight = weight.squeeze(-1)  # (C, k, k)
    columns = []
    for top in range(0, tile[0] * stride, stride):
        for left in range(0, tile[1] * stride, stride):
            below, right = patch[0] - kernel - top, patch[1] - kernel - left
            columns.append(mx.pad(weight, [(0, 0), (top, below), (left, right)]))
    return mx.stack(columns, axis=-1).reshape(channels, -1, len(columns))


def _patch_size(kernel: int, stride: int, tile: tuple[int, int]) -> tuple[int, int]:
    return (tile[0] - 1) * stride + kernel, (tile[1] - 1) * stride + kernel


def gelu(x: mx.array) -> mx.array:
    """x·Φ(x) without erf, by multiplications and one division, to 3e-7·|x|.

    Abramowitz and Stegun, Handbook of Mathematical Functions, formula 7.1.28, which
    gives erfc of a positive number as a polynomial to the power of -16. The terms are
    paired, since `mx.compile` fuses chains of limited depth.
    """
    z = mx.abs(x)
    a1, a2, a3, a4, a5, a6 = _ERFC
    z2 = z * z
    low = (1 + a1 * z) + z2 * (a2 + a3 * z)
    high = z2 * z2 * ((a4 + a5 * z) + a6 * z2)
    root = low + high
    root2 = root * root
    root4 = root2 * root2
    root8 = root4 * root4
    value: mx.array = mx.maximum(x, 0) - z * 0.5 / (root8 * root8)
    return value


_ERFC = tuple(
    coefficient * 0.5 ** (power / 2)  # of x where the formula has x / sqrt(2)
    for power, coefficient in enumerate(
        (
            0.0705230784,
            0.0422820123,
            0.0092705272,
            0.0001520143,
            0.0002765672,
            0.0000430638,
        ),
        start=1,
    )
)
