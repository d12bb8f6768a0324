"""KV caches that have all their room from the start, and copies of what they hold.

The caches are mlx-lm's. Left alone they grow by copying themselves every 256
positions; here prompt and answer are known, so the room is taken once. What they hold
can be taken out as plain arrays, whole or up to a position, and put into a new cache:
arrays are values, so no two requests ever write into the same one.

Shapes: H key-value heads, P positions, K head dimension.
"""

from ..device.backend import mx
from ..model.language import KVCache
from ..model.lazy_mlx_lm import mlx_lm

LayerStates = tuple[tuple[mx.array, mx.array], ...]
"""Keys and values of each layer, (1, H, P, K) both."""


def reserve(cache: KVCache, capacity: int) -> KVCache:
    """Give empty caches room for `capacity` positions, taken at the first write."""
    for layer in cache:
        layer.step = capacity  # mlx-lm allocates whole steps
    return cache


def restore(cache: KVCache, states: LayerStates) -> None:
    """Write what was taken out of another cache into empty ones."""
    for layer, (keys, values) in zip(cache, states, strict=True):
        layer.update_and_fetch(keys, values)


def take(cache: KVCache, positions: int) -> LayerStates:
    """The first positions of caches, as arrays of their own."""
    return tuple(
        (
            mx.contiguous(layer.keys[..., :positions, :]),
            mx.contiguous(layer.values[..., :positions, :]),
        )
        for layer in cache
    )


def shorten(states: LayerStates, positions: int) -> LayerStates:
    """The first positions of states."""
    return tuple(
        (keys[..., :positions, :], values[..., :positions, :])
        for keys, values in states
    )


def state_bytes(states: LayerStates) -> int:
    """Bytes that states take."""
    return sum(keys.nbytes + values.nbytes for keys, values in states)


def positions_in(cache: KVCache) -> int:
    """Positions that caches hold or have held."""
    return int(cache[0].offset)


def is_plain(cache: KVCache) -> bool:
    """Whether caches hold every position, at full precision."""
    return type(cache[0]) is mlx_lm("models.cache").KVCache


def quantize_from(cache: KVCache, first: int, group_size: int, bits: int) -> KVCache:
    """Caches in few bits, once they hold `first` positions.

    The room stays what it was, since the unused part is quantized with the rest.
    """
    if not is_plain(cache) or positions_in(cache) < first:
        return cache
    return [layer.to_quantized(group_size, bits) for layer in cache]


def rotate(cache: KVCache, keep: int) -> KVCache:
    """Caches that, when full, overwrite the oldest position after the first `keep`."""
    kind = mlx_lm("models.cache").RotatingKVCache
    return [
        kind.from_state(
            (
                layer.keys,
                layer.values,
                layer.offset,
                keep,
                layer.keys.shape[2],
                layer.offset,
            )
        )
        for layer in cache
    ]
