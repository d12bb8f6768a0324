"""Tokens against a loop without a cache, and how they are sampled."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastvlm_mlx import FastVLM, GenerationOptions
from fastvlm_mlx.caches.kv import positions_in, restore, take
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.generation import decode as decode_module
from fastvlm_mlx.generation.sampling import make_sampler
from fastvlm_mlx.model.fastvlm import FastVLMModel
from fastvlm_mlx.model.language import KVCache
from tests.generation.loop import begin, generate

GREEDY = GenerationOptions()
VOCABULARY = 320


# --- tokens -----------------------------------------------------------------------


def likeliest(logits: mx.array) -> int:
    """The token after the last position."""
    token: Any = mx.argmax(logits[0, -1]).item()
    return int(token)


def without_cache(model: FastVLMModel, embeds: mx.array, count: int) -> list[int]:
    """Greedy tokens, everything computed again for each of them."""
    tokens: list[int] = []
    for _ in range(count):
        tokens.append(likeliest(model(embeds)))
        embeds = mx.concatenate([embeds, model.embed(tokens[-1:])], axis=1)
    return tokens


def with_cache(
    vlm: FastVLM, embeds: mx.array, count: int, step: int = 2048
) -> list[int]:
    return generate(vlm, embeds, make_sampler(GREEDY, VOCABULARY), count, step)


@pytest.mark.parametrize("name", ["fast_vlm-train", "apple-train", "apple-fused"])
@pytest.mark.parametrize("length", [1, 12])
def test_the_cache_changes_nothing(
    load_golden: Callable[[str], FastVLM], name: str, length: int
) -> None:
    vlm = load_golden(name)
    embeds = vlm.engine.model.embed(range(40, 40 + length))
    assert with_cache(vlm, embeds, 24) == without_cache(vlm.engine.model, embeds, 24)


@pytest.mark.parametrize("step", [1, 5, 11, 12])
def test_prefill_in_steps_changes_nothing(vlm: FastVLM, step: int) -> None:
    embeds = vlm.engine.model.embed(range(40, 52))
    expected = without_cache(vlm.engine.model, embeds, 8)
    assert with_cache(vlm, embeds, 8, step) == expected


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_as_many_tokens_as_asked_for_and_no_more_work(
    vlm: FastVLM, count: int, ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last token is not decoded once more, on a GPU neither."""
    monkeypatch.setattr(decode_module, "runs_ahead", lambda: ahead)
    embeds = vlm.engine.model.embed(range(10))
    one = begin(vlm, embeds, make_sampler(GREEDY, VOCABULARY), count)
    tokens = [one.step()[0][1] for _ in range(count)]
    assert one.cache[0].offset == 10 + count - 1
    assert tokens == with_cache(vlm, embeds, count)


def test_a_gpu_works_one_token_ahead(
    vlm: FastVLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    offsets: dict[bool, list[int]] = {}
    for ahead in (False, True):
        monkeypatch.setattr(decode_module, "runs_ahead", lambda now=ahead: now)
        embeds = vlm.engine.model.embed([1, 2])
        one = begin(vlm, embeds, make_sampler(GREEDY, VOCABULARY), 3)
        offsets[ahead] = []
        for _ in range(3):
            one.step()
            offsets[ahead].append(one.cache[0].offset)
    assert offsets == {False: [2, 3, 4], True: [3, 4, 4]}


def test_caches_may_be_exchanged_between_steps(vlm: FastVLM) -> None:
    caches: list[KVCache] = []

    def copied(cache: KVCache) -> KVCache:
        copies = vlm.engine.model.make_cache()
        restore(copies, take(cache, positions_in(cache)))
        caches.append(copies)
        return copies

    embeds, sampler = (
        vlm.engine.model.embed(range(10)),
        make_sampler(GREEDY, VOCABULARY),
    )
    one = begin(vlm, embeds, sampler, 6, between_steps=copied)
    assert [one.step()[0][1] for _ in range(6)] == with_cache(vlm, embeds, 6)
    assert [cache[0].offset for cache in caches] == [11, 12, 13, 14, 15]


# --- sampling ---------------------------------------------------------------------

LOGITS = mx.array([[0.0, 3.0, 1.0, 2.0]])


def draws(count: int = 200, **options: Any) -> list[int]:
    """Tokens sampled from LOGITS, all at once."""
    sampler = make_sampler(GenerationOptions(seed=0, **options), vocab_size=4)
    tokens: Any = sampler(mx.repeat(LOGITS, count, axis=0)).tolist()
    return list(tokens)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.0},
        {"temperature": 1e-3},
        {"temperature": 1.0, "top_k": 1},
        {"temperature": 1.0, "top_p": 1e-6},
        {"temperature": 1.0, "min_p": 1.0},
    ],
)
def test_these_leave_the_likeliest_token_only(options: dict[str, Any]) -> None:
    assert set(draws(**options)) == {1}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {0, 1, 2, 3}),
        ({"top_k": 4}, {0, 1, 2, 3}),
        ({"top_k": 10**6}, {0, 1, 2, 3}),  # more than there are
        ({"top_k": 2}, {1, 3}),
        ({"top_p": 0.85}, {1, 3}),  # 0.64 and 0.24
        ({"min_p": 0.2}, {1, 3}),  # the third has a share of 0.14
    ],
)
def test_these_leave_the_likeliest_few(
    options: dict[str, Any], expected: set[int]
) -> None:
    assert set(draws(temperature=1.0, **options)) == expected


def test_tokens_are_drawn_by_their_probability() -> None:
    counts = np.bincount(draws(4000, temperature=1.0), minlength=4)
    expected = np.exp([0, 3, 1, 2]) / np.exp([0, 3, 1, 2]).sum()
    np.testing.assert_allclose(counts / 4000, expected, atol=0.03)


def test_temperature_flattens() -> None:
    cool, hot = (draws(1000, temperature=t).count(1) for t in (0.5, 5.0))
    assert cool > 800 > 500 > hot
