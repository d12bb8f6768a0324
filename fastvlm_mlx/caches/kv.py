"""KV caches that have all their room from the start, and copies of what they hold.

The caches are mlx-lm's. Left alone they grow by copying themselves every 256
positions; here prompt and answer are known, so the room is taken once. What they hold
can be taken out as plain arrays, whole or up to a position, and put into a new cache:
arrays are values, so no two requests ever write into the same one.

Shapes: H key-value heads, P positions, K head dimension.
"""

from ..config import GROUP_SIZES
from ..device.backend import mx
from ..errors import OptionError
from ..model.language import KVCache
from ..model.lazy_mlx_lm import mlx_lm
from ..options import GenerationOptions

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


def check_bits(options: GenerationOptions, head_dim: int) -> None:
    """Refuse groups that heads do not divide into.

    Raises:
        OptionError: says which size would.
    """
    size = options.kv_group_size
    if options.kv_bits is not None and head_dim % size:
        fitting = [str(each) for each in GROUP_SIZES if head_dim % each == 0]
        choice = f"choose {' or '.join(fitting)}, or " if fitting else ""
        raise OptionError(
            f"kv_group_size is {size}; the model's heads are {head_dim} wide, which "
            f"is no multiple of it: {choice}leave kv_bits out."
        )


def quantize_from(cache: KVCache, options: GenerationOptions) -> KVCache:
    """Caches in few bits, once they hold `quantized_kv_start` positions.

    The room stays what it was, since the unused part is quantized with the rest.
    """
    if options.kv_bits is None or not is_plain(cache):
        return cache
    if positions_in(cache) < options.quantized_kv_start:
        return cache
    return [
        layer.to_quantized(options.kv_group_size, options.kv_bits) for layer in cache
    ]


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
