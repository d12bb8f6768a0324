"""Prompts already read: the longest beginning, exactly, and in bounded memory."""

import itertools
import threading
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fastvlm_mlx.caches.prefixes import EMPTY, Key, Prefix, PrefixCache, common_length
from fastvlm_mlx.device.backend import mx

KEY_BYTES = 2 * 2 * 4  # keys and values of two layers, one float32 each


def prefix(keys: Sequence[Key]) -> Prefix:
    """A prompt whose KV says what stands at each position and before it."""
    seen = [hash(tuple(keys[: n + 1])) % 1000 for n in range(len(keys))]
    state = mx.array(seen, dtype=mx.float32).reshape(1, 1, -1, 1)
    return Prefix(tuple(keys), ((state, -state), (2 * state, -2 * state)))


def cache_of(*prompts: Sequence[Key], max_bytes: int = 1 << 20) -> PrefixCache:
    cache = PrefixCache(max_bytes)
    for each in prompts:
        cache.add(prefix(each))
    return cache


def check(found: Prefix, keys: Sequence[Key]) -> None:
    """What was found is what reading these keys would have left."""
    expected = prefix(keys)
    assert found.keys == tuple(keys)
    for pair, wanted in zip(found.states, expected.states, strict=True):
        for array, other in zip(pair, wanted, strict=True):
            assert np.array_equal(np.array(array), np.array(other))


def shared(first: Sequence[Key], second: Sequence[Key]) -> int:
    """How many positions are equal from the start, one by one."""
    pairs = zip(first, second, strict=False)
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))


KEYS = st.lists(st.sampled_from([1, 2, "red", "blue"]), max_size=12)


@given(first=KEYS, second=KEYS)
def test_common_length(first: list[Key], second: list[Key]) -> None:
    assert common_length(first, second) == shared(first, second)


@given(prompts=st.lists(KEYS.filter(bool), max_size=6), wanted=KEYS)
def test_the_longest_beginning_is_found(
    prompts: list[list[Key]], wanted: list[Key]
) -> None:
    found = cache_of(*prompts).find(wanted)
    longest = max((shared(wanted, each) for each in prompts), default=0)
    assert len(found) == longest
    if longest:
        check(found, wanted[:longest])


@given(prompts=st.lists(KEYS.filter(bool), max_size=8), limit=st.integers(0, 30))
def test_bytes_are_bounded(prompts: list[list[Key]], limit: int) -> None:
    cache = cache_of(*prompts, max_bytes=limit * KEY_BYTES)
    assert cache.nbytes <= limit * KEY_BYTES


def test_another_picture_under_the_same_words_is_another_prompt() -> None:
    cache = cache_of([1, 2, "red", "red", 3])
    check(cache.find([1, 2, "blue", "blue", 3]), [1, 2])


def test_a_token_is_no_digest() -> None:
    assert cache_of(["7"]).find([7]) is EMPTY


def test_a_longer_prompt_replaces_its_own_beginning() -> None:
    cache = cache_of([1, 2], [1, 2, 3])
    assert (len(cache), cache.nbytes) == (1, 3 * KEY_BYTES)
    cache.add(prefix([1]))
    assert (len(cache), cache.nbytes) == (1, 3 * KEY_BYTES)


def test_branches_stay_side_by_side() -> None:
    cache = cache_of([1, 2, 3], [1, 2, 4])
    check(cache.find([1, 2, 3, 5]), [1, 2, 3])
    check(cache.find([1, 2, 4, 5]), [1, 2, 4])


def test_the_one_used_longest_ago_goes_first() -> None:
    cache = cache_of([1, 1], [2, 2], max_bytes=4 * KEY_BYTES)
    cache.find([1])
    cache.add(prefix([3, 3]))
    assert cache.find([2]) is EMPTY
    check(cache.find([1, 1]), [1, 1])
    check(cache.last(), [1, 1])


def test_too_large_a_prompt_drives_nobody_out() -> None:
    cache = cache_of([1, 1], [2] * 9, max_bytes=4 * KEY_BYTES)
    check(cache.find([1, 1]), [1, 1])
    assert cache.find([2]) is EMPTY


def test_counts() -> None:
    cache = cache_of([1, 2, 3])
    for wanted in ([1, 2, 9], [1], [9], []):
        cache.find(wanted)
    assert (cache.hits, cache.misses, cache.reused) == (2, 2, 3)
    cache.clear()
    assert (len(cache), cache.nbytes, cache.last()) == (0, 0, EMPTY)


def test_threads_find_what_is_theirs() -> None:
    cache = PrefixCache(60 * KEY_BYTES)

    def work(number: int) -> None:
        for step in range(60):
            keys = [number, *range(step % 9)]
            cache.add(prefix(keys))
            found = cache.find(keys)
            check(found, keys[: len(found)])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.nbytes <= 60 * KEY_BYTES
