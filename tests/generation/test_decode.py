"""Answers that are decoded together against each of them alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from fastvlm_mlx import FastVLM, GenerationOptions
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.generation import decode as decode_module
from fastvlm_mlx.generation.decode import DecodeOne, Decoding
from fastvlm_mlx.generation.prefill import Prefill, length_buckets
from fastvlm_mlx.generation.sampling import greedy, make_sampler, sample_rows
from fastvlm_mlx.model.language import KVCache
from tests.generation.loop import generate

VOCABULARY = 320
STEP = 2048
LENGTHS = (1, 40, 7, 90, 23, 2, 64, 5)


@pytest.fixture(params=["fast_vlm-train", "apple-train", "apple-fused"])
def vlm(
    load_golden: Callable[[str], FastVLM], request: pytest.FixtureRequest
) -> FastVLM:
    return load_golden(request.param)


@dataclass
class Prompt:
    """A prompt to be read."""

    key: int
    inputs_embeds: mx.array
    cache: KVCache

    @property
    def length(self) -> int:
        return self.inputs_embeds.shape[1]


def embeds(vlm: FastVLM, length: int) -> mx.array:
    ids = [(7 * length + 3 * place) % 300 for place in range(length)]
    return vlm.engine.model.embed(ids)


def sampler(key: int) -> Any:
    """Greedy for some, and for others random with a seed."""
    options = GenerationOptions(temperature=key % 3, seed=key, top_k=key % 5)
    return make_sampler(options, VOCABULARY)


def alone(vlm: FastVLM, key: int, length: int, count: int) -> list[int]:
    return generate(vlm, embeds(vlm, length), sampler(key), count)


def prompt(vlm: FastVLM, key: int, length: int) -> Prompt:
    return Prompt(key, embeds(vlm, length), vlm.engine.model.make_cache())


def join(
    vlm: FastVLM, decoding: Decoding[int], prompts: Sequence[Prompt], step: int = STEP
) -> None:
    """Read prompts together and let their answers run."""
    prefill = Prefill(vlm.engine.model, prompts)
    while not prefill.advance(step):
        pass
    keys = [each.key for each in prompts]
    samplers, logits = [sampler(key) for key in keys], prefill.logits()
    if len(prompts) > 1:
        decoding.add_batch(keys, prefill.cache, logits, samplers)
    else:
        model = vlm.engine.model
        decoding.add(
            DecodeOne(model, keys[0], prefill.cache, logits, samplers[0], 1000)
        )


def step(decoding: Decoding[int]) -> list[tuple[int, int]]:
    return [each for group in decoding.groups() for each in group.step()]


def grow(decoding: Decoding[int], steps: int) -> dict[int, list[int]]:
    tokens: dict[int, list[int]] = {}
    for _ in range(steps):
        for key, token in step(decoding):
            tokens.setdefault(key, []).append(token)
    return tokens


@pytest.mark.parametrize("chunk", [STEP, 24])
def test_prompts_of_any_length_together(vlm: FastVLM, chunk: int) -> None:
    decoding: Decoding[int] = Decoding(vlm.engine.model)
    prompts = [prompt(vlm, *each) for each in enumerate(LENGTHS)]
    join(vlm, decoding, prompts, chunk)
    expected = {key: alone(vlm, key, n, 10) for key, n in enumerate(LENGTHS)}
    assert grow(decoding, 10) == expected
    assert len(decoding.groups()) == 1


@pytest.mark.parametrize("ahead", [False, True])
def test_answers_come_and_go(
    vlm: FastVLM, ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU the next tokens are under way already when one comes or goes."""
    monkeypatch.setattr(decode_module, "runs_ahead", lambda: ahead)
    decoding: Decoding[int] = Decoding(vlm.engine.model)
    tokens: dict[int, list[int]] = {key: [] for key in range(len(LENGTHS))}
    for key, length in enumerate(LENGTHS):
        join(vlm, decoding, [prompt(vlm, key, length)])
        for row, token in step(decoding):
            tokens[row].append(token)
        if key % 2:
            decoding.drop({key - 1, key // 2})
    assert all(tokens.values())
    for key, length in enumerate(LENGTHS):
        assert tokens[key] == alone(vlm, key, length, len(tokens[key]))


def test_the_last_goes_and_others_come(vlm: FastVLM) -> None:
    decoding: Decoding[int] = Decoding(vlm.engine.model)
    for key in (0, 1):
        join(vlm, decoding, [prompt(vlm, key, 9)])
        assert grow(decoding, 3) == {key: alone(vlm, key, 9, 3)}
        decoding.drop({key})
        assert not decoding.keys


def test_one_by_itself_joins_the_batch_that_comes(vlm: FastVLM) -> None:
    decoding: Decoding[int] = Decoding(vlm.engine.model)
    join(vlm, decoding, [prompt(vlm, 0, 30)])
    first = grow(decoding, 3)[0]
    join(vlm, decoding, [prompt(vlm, 1, 11), prompt(vlm, 2, 12)])
    found = grow(decoding, 5)
    assert first + found[0] == alone(vlm, 0, 30, 8)
    assert found[2] == alone(vlm, 2, 12, 5)
    assert len(decoding.groups()) == 1


def test_caches_that_change_stay_by_themselves(vlm: FastVLM) -> None:
    decoding: Decoding[int] = Decoding(vlm.engine.model)
    prefill = Prefill(vlm.engine.model, [prompt(vlm, 0, 9)])
    prefill.advance(STEP)
    one = DecodeOne(
        vlm.engine.model,
        0,
        prefill.cache,
        prefill.logits(),
        sampler(0),
        9,
        lambda cache: cache,
    )
    decoding.add(one)
    join(vlm, decoding, [prompt(vlm, 1, 11)])
    join(vlm, decoding, [prompt(vlm, 2, 12)])
    assert [[*group.keys] for group in decoding.groups()] == [[1, 2], [0]]
    expected = {key: alone(vlm, key, n, 4) for key, n in ((0, 9), (1, 11), (2, 12))}
    assert grow(decoding, 4) == expected


def test_an_answer_begins_where_another_prompt_was_read(vlm: FastVLM) -> None:
    """Its cache holds a beginning; those next to it have none."""
    whole, model = embeds(vlm, 40), vlm.engine.model
    cache = model.make_cache()
    model.prefill(whole[:, :33], cache)
    rest = Prompt(0, whole[:, 33:], cache)
    decoding: Decoding[int] = Decoding(model)
    join(vlm, decoding, [rest, prompt(vlm, 1, 12), prompt(vlm, 2, 3)])
    lengths = {0: 40, 1: 12, 2: 3}
    expected = {key: alone(vlm, key, n, 8) for key, n in lengths.items()}
    assert grow(decoding, 8) == expected


def test_what_a_row_holds_is_what_it_would_hold_alone(vlm: FastVLM) -> None:
    model = vlm.engine.model
    decoding: Decoding[int] = Decoding(model)
    prefill = Prefill(model, [prompt(vlm, 0, 30), prompt(vlm, 1, 11)])
    prefill.advance(STEP)
    decoding.add_batch([0, 1], prefill.cache, prefill.logits(), [greedy, greedy])
    cache = model.make_cache()
    model.prefill(embeds(vlm, 11), cache)
    for found in (prefill.extract(1), decoding.extract(1)):
        for layer, expected in zip(found, cache, strict=True):
            assert layer.offset == 11
            keys = expected.keys[..., :11, :]
            assert mx.allclose(layer.keys, keys, rtol=1e-4, atol=1e-5)


def test_neighbours_of_an_unseeded_row_do_not_share_its_luck(vlm: FastVLM) -> None:
    options = GenerationOptions(temperature=5.0)
    mx.random.seed(3)
    logits = mx.zeros((64, VOCABULARY))
    drawn: Any = sample_rows([make_sampler(options, VOCABULARY)] * 64, logits).tolist()
    assert len(set(drawn)) > 32


def test_greedy_rows_are_sampled_at_once() -> None:
    logits = mx.array([[0.0, 2.0, 1.0], [3.0, 0.0, 1.0]])
    assert sample_rows([greedy, greedy], logits).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([], []),
        ([5], [[5]]),
        ([30, 1, 12], [[1, 12, 30]]),
        ([2000, 20, 1800, 25], [[20, 25], [1800, 2000]]),
        ([100, 157, 158], [[100, 157], [158]]),
    ],
)
def test_prompts_of_like_length_are_read_together(
    lengths: list[int], expected: list[list[int]]
) -> None:
    prompts: list[Any] = [SimpleNamespace(length=length) for length in lengths]
    buckets = [[each.length for each in group] for group in length_buckets(prompts)]
    assert buckets == expected
