"""KV caches whose room is taken once, and copies of what they hold."""

from typing import Any

import numpy as np
import pytest

from fastvlm_mlx.caches.kv import (
    is_plain,
    positions_in,
    quantize_from,
    reserve,
    restore,
    rotate,
    shorten,
    state_bytes,
    take,
)
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.model.language import KVCache
from fastvlm_mlx.model.lazy_mlx_lm import mlx_lm

LAYERS, HEADS, WIDTH = 2, 2, 32


def empty(capacity: int) -> KVCache:
    kind = mlx_lm("models.cache").KVCache
    return reserve([kind() for _ in range(LAYERS)], capacity)


def steps(count: int, seed: int = 0) -> list[mx.array]:
    """Keys of so many positions, one by one, (1, H, 1, K)."""
    keys = mx.random.key(seed)
    whole = mx.random.normal((1, HEADS, count, WIDTH), key=keys)
    return [whole[:, :, n : n + 1] for n in range(count)]


def feed(cache: KVCache, keys: list[mx.array]) -> None:
    for key in keys:
        for number, layer in enumerate(cache):
            layer.update_and_fetch(key + number, -key - number)


def held(cache: KVCache) -> list[np.ndarray[Any, Any]]:
    return [np.array(each) for layer in cache for each in layer.keys_and_values()]


def same(one: list[np.ndarray[Any, Any]], other: list[np.ndarray[Any, Any]]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_room_for_all_and_no_more() -> None:
    cache = empty(7)
    feed(cache, steps(7))
    assert [layer.keys.shape[2] for layer in cache] == [7] * LAYERS
    assert positions_in(cache) == 7


@pytest.mark.parametrize("positions", [1, 4, 6])
def test_what_is_taken_out_goes_into_another(positions: int) -> None:
    cache, again = empty(9), empty(20)
    keys = steps(6)
    feed(cache, keys)
    restore(again, take(cache, positions))
    feed(again, keys[positions:])
    assert same(held(again), held(cache))
    assert again[0].keys.shape[2] == 20


def test_what_is_taken_out_stays_what_it_was() -> None:
    """Two go on from the same beginning, and so does the one that it came from."""
    cache, keys = empty(9), steps(6)
    feed(cache, keys[:3])
    states = take(cache, 3)
    before = [np.array(each) for pair in states for each in pair]
    branches = [empty(9), empty(9)]
    for branch, seed in zip(branches, (1, 2), strict=True):
        restore(branch, states)
        feed(branch, steps(4, seed))
    feed(cache, keys[3:])
    assert same(before, [np.array(each) for pair in states for each in pair])
    assert same(before, [each[:, :, :3] for each in held(branches[0])])
    assert not same(held(branches[0]), held(branches[1]))


def test_a_copy_takes_only_its_own_bytes() -> None:
    cache = empty(1000)
    feed(cache, steps(6))
    states = take(cache, 4)
    assert state_bytes(states) == LAYERS * 2 * HEADS * 4 * WIDTH * 4
    assert state_bytes(shorten(states, 1)) == state_bytes(states) // 4


def test_quantizing_waits_for_its_position_and_keeps_the_room() -> None:
    cache = empty(8)
    feed(cache, steps(3))
    assert quantize_from(cache, 4, 32, 8) is cache
    feed(cache, steps(1))
    packed = quantize_from(cache, 4, 32, 8)
    assert not is_plain(packed) and positions_in(packed) == 4
    assert quantize_from(packed, 4, 32, 8) is packed
    feed(packed, steps(4))
    assert {part.shape[2] for layer in packed for part in layer.keys} == {8}


def test_rotating_overwrites_the_oldest_after_what_is_kept() -> None:
    cache, keys = empty(5), steps(9)
    feed(cache, keys[:4])
    turning = rotate(cache, keep=2)
    feed(turning, keys[4:])
    expected = [keys[n] for n in (0, 1, 8, 6, 7)]  # 2, 3, 4 and then 5 were oldest
    found = turning[0].keys_and_values()[0]
    assert np.array_equal(np.array(found), np.array(mx.concatenate(expected, axis=2)))
    assert positions_in(turning) == 9
