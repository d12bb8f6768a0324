"""A depthwise conv for the CPU, where MLX's grouped conv is a plain loop.

A small kernel is a sum of shifted images, a large one a matmul over tiles.

Shapes: B batch, H and W pixels, C channels, k kernel side.
"""

from functools import cache, partial

from ...device.backend import mx

_SMALL = 3
"""Kernels up to this side are summed tap by tap; a matmul would be mostly zeros."""

_LARGE = 96
"""From this many output rows on, wider tiles pay for their larger matrices."""


def depthwise_conv(x: mx.array, weight: mx.array, stride: int) -> mx.array:
    """Convolve each channel with its own kernel, "same" padding, no bias.

    Args:
        x: (B, H, W, C).
        weight: (C, k, k, 1), k odd.

    Returns:
        (B, H/stride, W/stride, C), rounded up.
    """
    form = shifted if weight.shape[1] <= _SMALL else tiled
    return form(x, weight, stride)


def shifted(x: mx.array, weight: mx.array, stride: int) -> mx.array:
    """The sum of k² shifted images, each times its tap of the kernel.

    With the rows of the padded image laid end to end, a shift is another place to
    begin, and all k² are read in one pass. A stride of 2 reads every other pixel, so
    even and odd rows and columns are parted first.
    """
    batch, height, width, channels = x.shape
    kernel, reach = weight.shape[1], (weight.shape[1] - 1) // stride
    rows, columns = -(-height // stride), -(-width // stride)
    grid = (rows + reach, columns + reach)
    phases = _phases(x, kernel // 2, stride, grid)  # (stride, stride, pixels, C)
    count = phases.shape[2] - reach * (grid[1] + 1)
    shifts = []
    for i in range(kernel):
        for j in range(kernel):
            start = (i // stride) * grid[1] + j // stride
            shifts.append(phases[i % stride, j % stride, start : start + count])
    taps = mx.contiguous(weight.reshape(channels, -1).T)  # (k², C)
    total = _weighted_sum(shifts, list(taps))  # (count, C)
    total = mx.pad(total, [(0, phases.shape[2] - count), (0, 0)])
    return total.reshape(batch, *grid, channels)[:, :rows, :columns]


def _phases(x: mx.array, before: int, stride: int, grid: tuple[int, int]) -> mx.array:
    """Pad, and part the pixels by row and column modulo the stride."""
    batch, height, width, channels = x.shape
    after = [stride * grid[i] - x.shape[1 + i] - before for i in (0, 1)]
    x = mx.pad(x, [(0, 0), (before, after[0]), (before, after[1]), (0, 0)])
    x = x.reshape(batch, grid[0], stride, grid[1], stride, channels)
    return x.transpose(2, 4, 0, 1, 3, 5).reshape(stride, stride, -1, channels)


@partial(mx.compile, shapeless=True)
def _weighted_sum(arrays: list[mx.array], weights: list[mx.array]) -> mx.array:
    """Summed in pairs: `mx.compile` fuses chains of limited depth."""
    terms = [array * weight for array, weight in zip(arrays, weights, strict=True)]
    while len(terms) > 1:
        odd = terms[len(terms) // 2 * 2 :]
        terms = [a + b for a, b in zip(terms[::2], terms[1::2], strict=False)] + odd
    return terms[0]


def tiled(x: mx.array, weight: mx.array, stride: int) -> mx.array:
    """One batched matmul over tiles of the image; as `depthwise_conv`."""
    height, width = (-(-side // stride) for side in x.shape[1:3])
    tiles = in_tiles(x, weight, stride)
    return joined(tiles.transpose(1, 2, 3, 4, 5, 0), (height, width))


def in_tiles(x: mx.array, weight: mx.array, stride: int) -> mx.array:
    """The same, in tiles, as they come out of the matmul.

    The outputs of a small tile depend linearly on the patch under it, so each
    channel is a banded matrix from patches to tiles, and all its tiles one matmul.

    Returns:
        (C, rows and columns of a tile, B, rows and columns of tiles).
    """
    batch, height, width, channels = x.shape
    rows, columns = -(-height // stride), -(-width // stride)
    tile = (4, 8) if rows >= _LARGE else (4, 4)
    grid = (-(-rows // tile[0]), -(-columns // tile[1]))
    patches = _patches(x, weight.shape[1], stride, tile, grid)
    banded = _banded(weight, stride, tile)
    tiles = banded.swapaxes(1, 2) @ patches.swapaxes(1, 2)  # (C, tile size, tiles)
    return tiles.reshape(channels, *tile, batch, *grid)


def joined(tiles: mx.array, size: tuple[int, int]) -> mx.array:
    """(rows and columns of a tile, B, rows and columns of tiles, C) -> (B, H, W, C)."""
    whole = tiles.transpose(2, 3, 0, 4, 1, 5)  # (B, grid, tile, grid, tile, C)
    whole = whole.flatten(1, 2).flatten(2, 3)
    return whole[:, : size[0], : size[1]]


def _patches(
    x: mx.array, kernel: int, stride: int, tile: tuple[int, int], grid: tuple[int, int]
) -> mx.array:
    """Every tile's patch, overlapping its neighbours: (C, tiles, patch size)."""
    batch, height, width, channels = x.shape
    before = kernel // 2
    sides = [(grid[i] * tile[i] - 1) * stride + kernel for i in (0, 1)]
    after = (sides[0] - height - before, sides[1] - width - before)
    if min(after) < 0:  # a stride of 2 leaves the last row or column unread
        x = x[:, : height + min(after[0], 0), : width + min(after[1], 0)]
        after = (max(after[0], 0), max(after[1], 0))
    edges = [(0, 0), (0, 0), (before, after[0]), (before, after[1])]
    planes = mx.contiguous(mx.pad(x.transpose(3, 0, 1, 2), edges))  # (C, B, *sides)
    row, plane = sides[1], sides[0] * sides[1]
    patch = _patch_size(kernel, stride, tile)
    steps = (tile[0] * stride * row, tile[1] * stride, row, 1)
    strides = (batch * plane, plane, *steps)
    views = mx.as_strided(planes, (channels, batch, *grid, *patch), strides)
    return views.reshape(channels, batch * grid[0] * grid[1], patch[0] * patch[1])


def _banded(weight: mx.array, stride: int, tile: tuple[int, int]) -> mx.array:
    """Each channel's matrix from a patch to a tile: (C, patch size, tile size)."""
    channels, kernel = weight.shape[0], weight.shape[1]
    places = _places(kernel, stride, tile)
    banded = weight.reshape(channels, -1) @ places.reshape(kernel**2, -1)
    return banded.reshape(channels, *places.shape[1:])


@cache
def _places(kernel: int, stride: int, tile: tuple[int, int]) -> mx.array:
    """Ones where a tap goes in a banded matrix: (k², patch size, tile size)."""
    patch = _patch_size(kernel, stride, tile)
    taps = mx.eye(kernel**2).reshape(-1, kernel, kernel)
    columns = []
    for top in range(0, tile[0] * stride, stride):
        for left in range(0, tile[1] * stride, stride):
            below, right = patch[0] - kernel - top, patch[1] - kernel - left
            columns.append(mx.pad(taps, [(0, 0), (top, below), (left, right)]))
    places = mx.stack(columns, axis=-1).reshape(kernel**2, -1, len(columns))
    mx.eval(places)  # it outlives this call, and may be used from another thread
    return places


def _patch_size(kernel: int, stride: int, tile: tuple[int, int]) -> tuple[int, int]:
    return (tile[0] - 1) * stride + kernel, (tile[1] - 1) * stride + kernel
