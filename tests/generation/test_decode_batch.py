"""Rows of a batch against a loop of their own."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from fastvlm_mlx import FastVLM, GenerationOptions
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.generation import decode_batch as rows_module
from fastvlm_mlx.generation.decode_batch import Rows, Start, alike, sample_rows
from fastvlm_mlx.generation.generate import generate_step, likeliest, make_sampler

VOCABULARY = 320
STEP = 2048
LENGTHS = (1, 40, 7, 90, 23, 2, 64, 5)


@pytest.fixture(params=["fast_vlm-train", "apple-train", "apple-fused"])
def vlm(
    load_golden: Callable[[str], FastVLM], request: pytest.FixtureRequest
) -> FastVLM:
    return load_golden(request.param)


def embeds(vlm: FastVLM, length: int) -> mx.array:
    return vlm.model.embed([(7 * length + 3 * place) % 300 for place in range(length)])


def sampler(key: int) -> Any:
    """Greedy for some, and for others random with a seed."""
    options = GenerationOptions(temperature=key % 3, seed=key, top_k=key % 5)
    return make_sampler(options, VOCABULARY)


def alone(vlm: FastVLM, key: int, length: int, count: int) -> list[int]:
    cache, prompt = vlm.model.make_cache(), embeds(vlm, length)
    return list(generate_step(vlm.model, prompt, cache, sampler(key), count))


def begin(vlm: FastVLM, key: int, length: int) -> Start:
    return Start(key, embeds(vlm, length), vlm.model.make_cache(), sampler(key))


def grow(rows: Rows, steps: int) -> dict[int, list[int]]:
    tokens: dict[int, list[int]] = {}
    for _ in range(steps):
        for key, token in rows.step():
            tokens.setdefault(key, []).append(token)
    return tokens


@pytest.mark.parametrize("step", [STEP, 24])
def test_rows_of_any_length_together(vlm: FastVLM, step: int) -> None:
    rows = Rows(vlm.model)
    rows.add([begin(vlm, *each) for each in enumerate(LENGTHS)], step)
    expected = {key: alone(vlm, key, n, 10) for key, n in enumerate(LENGTHS)}
    assert grow(rows, 10) == expected


@pytest.mark.parametrize("ahead", [False, True])
def test_rows_come_and_go(
    vlm: FastVLM, ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU the next tokens are under way already when one comes or goes."""
    monkeypatch.setattr(rows_module, "runs_ahead", lambda: ahead)
    rows = Rows(vlm.model)
    tokens: dict[int, list[int]] = {key: [] for key in range(len(LENGTHS))}
    for key, length in enumerate(LENGTHS):
        rows.add([begin(vlm, key, length)], STEP)
        for row, token in rows.step():
            tokens[row].append(token)
        if key % 2:
            rows.drop({key - 1, key // 2})
    assert all(tokens.values())
    for key, length in enumerate(LENGTHS):
        assert tokens[key] == alone(vlm, key, length, len(tokens[key]))


def test_all_rows_go_and_others_come(vlm: FastVLM) -> None:
    rows = Rows(vlm.model)
    for key in (0, 1):
        rows.add([begin(vlm, key, 9)], STEP)
        assert grow(rows, 3) == {key: alone(vlm, key, 9, 3)}
        rows.drop({key})
        assert not rows


def test_a_row_begins_where_another_prompt_was_read(vlm: FastVLM) -> None:
    """Its cache holds a beginning; beside it stand rows that have none."""
    prompt, cache = embeds(vlm, 40), vlm.model.make_cache()
    vlm.model.prefill(prompt[:, :33], cache)
    rest = Start(0, prompt[:, 33:], cache, sampler(0))
    rows = Rows(vlm.model)
    rows.add([rest, begin(vlm, 1, 12), begin(vlm, 2, 3)], STEP)
    lengths = {0: 40, 1: 12, 2: 3}
    assert grow(rows, 8) == {key: alone(vlm, key, n, 8) for key, n in lengths.items()}


def test_the_beginning_of_a_row_is_what_it_would_hold_alone(vlm: FastVLM) -> None:
    rows = Rows(vlm.model)
    rows.add([begin(vlm, 0, 30), begin(vlm, 1, 11)], STEP)
    cache = vlm.model.make_cache()
    vlm.model.prefill(embeds(vlm, 11), cache)
    for found, expected in zip(rows.beginning(1), cache, strict=True):
        assert found.offset == 11
        keys = expected.keys[..., :11, :]
        assert mx.allclose(found.keys, keys, rtol=1e-4, atol=1e-5)


def test_neighbours_of_an_unseeded_row_do_not_share_its_luck(vlm: FastVLM) -> None:
    options = GenerationOptions(temperature=5.0)
    mx.random.seed(3)
    logits = mx.zeros((64, VOCABULARY))
    drawn: Any = sample_rows([make_sampler(options, VOCABULARY)] * 64, logits).tolist()
    assert len(set(drawn)) > 32


def test_greedy_rows_are_sampled_at_once() -> None:
    logits = mx.array([[0.0, 2.0, 1.0], [3.0, 0.0, 1.0]])
    assert sample_rows([likeliest, likeliest], logits).tolist() == [1, 0]


def starts(lengths: Sequence[int]) -> list[Start]:
    each = [mx.zeros((1, length, 1)) for length in lengths]
    return [Start(key, array, [], likeliest) for key, array in enumerate(each)]


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
def test_prompts_of_like_length_are_prefilled_together(
    lengths: list[int], expected: list[list[int]]
) -> None:
    groups = [[each.length for each in group] for group in alike(starts(lengths))]
    assert groups == expected
